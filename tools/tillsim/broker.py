"""An MQTT broker on the loopback interface, with a user and password for everybody.

mosquitto, fetched where it is not installed; where it cannot be had, amqtt, in a thread of its
own."""

import contextlib
import hmac
import random
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from amqtt.session import Session

from tillback.broker.embedded import BrokerError, Embedded
from tillback.broker.passwords import hashed
from tillsim.debian import DebianMissing, program

HOST = "127.0.0.1"
_START_S = 15.0
_STOP_S = 5.0


@dataclass
class Tls:
    """PEM files: the server's certificate and key, and the CA of its clients'."""

    certificate: Path
    key: Path
    ca: Path


class Broker:
    """start() and stop(), as often as wanted, from a synchronous program; also a context manager.

    port: 0 takes a free one; `port` then says which. users: {name: password}; nobody else connects.
    data_dir: a folder of its own: mosquitto keeps sessions and retained messages there across a
    stop; amqtt forgets them. engine: "mosquitto", "amqtt" or None for the first that can be had.
    tls: mosquitto serves it too, at `tls_port`, to clients with a certificate: their CN is who
    they are."""

    def __init__(
        self, port: int, users: dict[str, str], data_dir: str | Path, engine: str | None = None,
        tls: Tls | None = None,
    ) -> None:  # fmt: skip
        self.port = port or free_port()
        self.tls_port = free_port() if tls else 0
        self.engine = engine or _best()
        runner = _Mosquitto if self.engine == "mosquitto" else _Amqtt
        if tls and runner is _Amqtt:
            raise BrokerError("TLS with client certificates needs mosquitto")
        self._runner: _Mosquitto | _Amqtt = runner(self.port, dict(users), Path(data_dir))
        if tls and isinstance(self._runner, _Mosquitto):
            self._runner.listen_too(
                self.tls_port, f"cafile {tls.ca}\ncertfile {tls.certificate}\nkeyfile {tls.key}\n"
                "require_certificate true\nuse_identity_as_username true\n",
            )  # fmt: skip
        self.running = False

    @property
    def persistent(self) -> bool:
        """Whether mosquitto, started next, keeps anything."""
        return isinstance(self._runner, _Mosquitto) and self._runner.persistent

    @persistent.setter
    def persistent(self, keeps: bool) -> None:
        if isinstance(self._runner, _Mosquitto):
            self._runner.persistent = keeps

    def start(self) -> None:
        """Returns when the port accepts connections. Raises BrokerError."""
        if not self.running:
            self._runner.start()
            self.running = True

    def stop(self) -> None:
        """Closes every connection and returns when the port is free again."""
        if self.running:
            self.running = False
            self._runner.stop()

    def kill(self) -> None:
        """As stop(), but mosquitto gets no chance to end in order: SIGKILL."""
        if self.running and isinstance(self._runner, _Mosquitto):
            self._runner.kill()
        self.stop()

    def url(self, user: str) -> str:
        """`mqtt://user:password@host:port`, as tillback takes it."""
        password = quote(self._runner.users[user], safe="")
        return f"mqtt://{quote(user, safe='')}:{password}@{HOST}:{self.port}"

    def __enter__(self) -> "Broker":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _best() -> str:
    try:
        program("mosquitto")
    except DebianMissing:
        return "amqtt"
    return "mosquitto"


def free_port() -> int:
    """A TCP port that nobody has now, and nobody is given while our server is down.

    Below the ephemeral ports: from among those, a client that keeps trying to reach the stopped
    server would sooner or later be given its port, and be connected to itself."""
    while True:
        port = random.randrange(15000, 32000)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind((HOST, port))
            return port


class Mosquitto:
    """mosquitto with a configuration file that has listeners at `ports`; a context manager too."""

    def __init__(self, config: Path, *ports: int) -> None:
        self._config, self._ports = config, ports
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the ports accept connections. Raises BrokerError."""
        said = self._config.with_suffix(".log")
        try:
            with open(said, "ab") as log:
                self._process = subprocess.Popen(
                    [*program("mosquitto"), "-c", str(self._config)], stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log,
                )  # fmt: skip
        except (OSError, DebianMissing) as error:
            raise BrokerError(f"mosquitto: {error}") from error
        deadline = time.monotonic() + _START_S
        while not all(map(_listening, self._ports)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise BrokerError(f"mosquitto does not listen: see {said}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: it gets no chance to end in order."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def stop(self) -> None:
        """Returns when it has ended."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> "Mosquitto":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Mosquitto(Mosquitto):
    def __init__(self, port: int, users: dict[str, str], data_dir: Path) -> None:
        super().__init__(data_dir / "mosquitto.conf", port)
        self.users, self.data_dir = users, data_dir
        self._settings = ""  # of more listeners
        self.persistent = True

    def listen_too(self, port: int, settings: str) -> None:
        self._ports += (port,)
        self._settings += f"listener {port} {HOST}\n{settings}"

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        known = self.data_dir / "passwords"
        known.touch(mode=0o600)
        known.write_text("".join(f"{one}:{hashed(word)}\n" for one, word in self.users.items()))
        self._config.write_text(
            f"listener {self._ports[0]} {HOST}\n"
            f"allow_anonymous false\npassword_file {known}\n"
            f"persistence {str(self.persistent).lower()}\n"
            f"persistence_location {self.data_dir.resolve()}/\n"
            "user root\n"  # only root is ever another user in mosquitto
            "max_queued_messages 0\nmax_inflight_messages 500\n"
            f"{self._settings}"
        )
        super().start()


class _Amqtt(Embedded):
    def __init__(self, port: int, users: dict[str, str], data_dir: Path) -> None:
        self.users = users
        super().__init__(self, HOST, port)

    def admits(self, session: Session) -> bool:
        expected = self.users.get(session.username or "")
        given = (session.password or "").encode()
        return expected is not None and hmac.compare_digest(given, expected.encode())

    def may(self, session: Session, verb: str, topic: str) -> bool:
        return True


def _listening(port: int) -> bool:
    with socket.socket() as s:
        s.settimeout(0.5)
        return s.connect_ex((HOST, port)) == 0
