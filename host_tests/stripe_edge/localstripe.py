"""`localstripe` in a process of its own."""

import socket
import subprocess
import sys

import httpx

HOST = "127.0.0.1"
# Its own command listens on every interface, and writes all that it knows to one file in /tmp
# after each change, which other processes do as well.
_SERVE = """
import socket, sys
from aiohttp import web
from localstripe.resources import store
from localstripe.server import app
store.dump_to_disk = lambda: None
web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])), access_log=None, print=None)
"""
_STOP_S = 5


class LocalStripe:
    """Started by the constructor, at `url`; a context manager."""

    def __init__(self) -> None:
        # Listening before the process runs: who connects meanwhile waits, nobody need try again.
        with socket.create_server((HOST, 0)) as listening:
            self.url = f"http://{HOST}:{listening.getsockname()[1]}"
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, str(listening.fileno())],
                pass_fds=[listening.fileno()], stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def clear(self) -> None:
        """Forgets everything."""
        httpx.delete(f"{self.url}/_config/data", timeout=30, verify=False).raise_for_status()

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> "LocalStripe":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
