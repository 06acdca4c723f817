"""What several commands share."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import sqlalchemy

from evtill.core.errors import ConfigError

# (name, what runs it, help) -> its parser, which has --db already. A name of two words, such as
# "ledger check", is a command of a noun.
AddCommand = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def broker(arguments: argparse.Namespace) -> str:
    """The URL that --broker gives, or the file that it names; without it, that of the broker that
    `tillback serve` embeds. Raises ConfigError."""
    if arguments.broker is None and not embedded_url(arguments.database).exists():
        raise ConfigError("no `tillback serve` with a broker of its own runs here: --broker URL")
    url: str = arguments.broker or f"@{embedded_url(arguments.database)}"
    return read_text(Path(url[1:])).strip() if url.startswith("@") else url


def embedded_url(database: str) -> Path:
    """Where `tillback serve` leaves the URL of its own broker while it runs: beside the database's
    file, or in the working directory."""
    parts = sqlalchemy.make_url(database)
    file = parts.database if parts.get_backend_name() == "sqlite" else None
    return Path(f"{file or 'tillback'}.broker")


def host_port(text: str) -> tuple[str, int]:
    """An argument of the kind HOST:PORT."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise argparse.ArgumentTypeError(f"{text}: want HOST:PORT")
    return host, int(port)


def read_text(path: Path) -> str:
    """A text file's content. Raises ConfigError."""
    try:
        return path.read_text()
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{path}: cannot be read") from error


def write_secret(path: Path, text: str) -> None:
    """Writes a file that only its owner can read. Raises ConfigError."""
    try:
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
