"""A PostgreSQL server of one's own on the loopback interface, with a password."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tillsim import debian
from tillsim.broker import HOST, free_port

USER = "postgres"
_START_S = 30.0
_STOP_S = 20.0


class PostgresError(Exception):
    """The server did not start; the text is one line."""


class Postgres:
    """start() and stop(), as often as wanted; as a context manager it starts, and leaves nothing.

    port: 0 takes a free one; `port` then says which. durable: whether a commit outlives a power cut
    (fsync), as in production; without, the server's own death at most. `folder` is its own; `pid`
    its process. Raises DebianMissing, PostgresError."""

    def __init__(self, port: int = 0, durable: bool = False) -> None:
        self.port = port or free_port()
        self._password = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL serves no root. Its own folder is not under pytest's: that one is root's alone.
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self.folder = Path(tempfile.mkdtemp(prefix="evtill-postgres-"))
        try:
            if self._as:
                os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._words, self._bin = self._programs()
            self._initdb()
        except BaseException:
            self.close()
            raise
        self._settings = {
            "listen_addresses": HOST, "port": self.port, "unix_socket_directories": "",
            "fsync": "on" if durable else "off", "full_page_writes": "on" if durable else "off",
            "timezone": "GMT", "log_timezone": "GMT",  # the only one that needs no zoneinfo
            "jit": "off",  # its LLVM is not fetched
        }  # fmt: skip

    def start(self) -> None:
        """Returns when it serves."""
        if self._process is not None:
            return
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [*self.tool("postgres"), "-D", str(self._data), *settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **self._as,
            )  # fmt: skip
        deadline = time.monotonic() + _START_S
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise PostgresError(f"postgres does not serve: {_reason(self._log.read_text())}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends it in order; who is connected is cut off."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Ends it at once with all its connections; nothing is tidied up, and the next start()
        recovers from its log."""
        self._end(signal.SIGQUIT)

    def close(self) -> None:
        """stop(), and removes all that it kept."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        """As SQLAlchemy takes it."""
        return f"postgresql+psycopg://{USER}:{self._password}@{HOST}:{self.port}/{database}"

    def create(self, name: str, template: str = "template1") -> str:
        """Makes a database, a copy of `template`, to which nobody may be connected; its URL."""
        self._run("CREATE DATABASE {} TEMPLATE {}", name, template)
        return self.url(name)

    def drop(self, name: str) -> None:
        """Deletes a database, whoever is connected to it."""
        self._run("DROP DATABASE {} WITH (FORCE)", name)

    def tool(self, name: str) -> list[str]:
        """Argument list that starts a program of the same installation, such as pg_dump."""
        return [*self._words, str(self._bin / name)]

    def __enter__(self) -> "Postgres":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _programs(self) -> tuple[list[str], Path]:
        """(what goes before a program, folder of the programs): initdb and postgres out of one
        installation, which whoever runs them can read."""
        found = debian.installed("postgres")
        if found is not None and not (Path(found[-1]).resolve().parent / "initdb").exists():
            found = None
        found = found or debian.private("postgres")
        words, folder = found[:-1], Path(found[-1]).resolve().parent
        if self._as and subprocess.run(["test", "-x", folder], check=False, **self._as).returncode:
            root = debian.FOLDER / debian.PROGRAMS["postgres"][0]
            copy = self.folder / "debian"
            shutil.copytree(root, copy, symlinks=True)
            words = [word.replace(str(root), str(copy)) for word in words]
            folder = copy / folder.relative_to(root.resolve())
        return words, folder

    def _initdb(self) -> None:
        passwords = self.folder / "password"
        passwords.write_text(self._password)
        passwords.chmod(0o644)  # in a folder that is 0700
        done = subprocess.run(
            [*self.tool("initdb"), "-D", self._data, "-U", USER, "--pwfile", passwords,
             "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd="/",
            **self._as,
        )  # fmt: skip
        if done.returncode:
            raise PostgresError(f"initdb: {_reason(done.stderr)}")

    def _serves(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=HOST, port=self.port, user=USER, password=self._password, dbname="postgres",
            connect_timeout=5, autocommit=True,
        )  # fmt: skip

    def _run(self, statement: str, *names: str) -> None:
        with self._connect() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _reason(said: str) -> str:
    lines = said.strip().splitlines() or ["it gave no reason"]
    return next((line for line in reversed(lines) if "FATAL" in line), lines[-1])
