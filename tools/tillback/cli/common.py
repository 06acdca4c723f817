"""What several commands share."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import sqlalchemy

from evtill.core.errors import ConfigError
from tillback.mqtt import Address

# (name, what runs it, help) -> its parser, which has --db already. A name of two words, such as
# "ledger check", is a command of a noun.
AddCommand = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def add_broker(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds --broker and what TLS to it takes. default: what goes without it, in words."""
    parser.add_argument("--broker", metavar="URL", help="mqtt://user:password@host:port, or "
                        f"mqtts://; or @FILE that holds it (default: {default})")  # fmt: skip
    parser.add_argument("--ca", type=Path, metavar="FILE",
                        help="mqtts: certificate of the CA of the broker's (default: the system's)")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="mqtts: our own certificate")
    parser.add_argument("--key", type=Path, metavar="FILE", help="mqtts: the key of --cert")


def broker(arguments: argparse.Namespace) -> Address:
    """What add_broker()'s arguments say; without --broker, the one that `tillback serve` embeds.
    Raises ConfigError."""
    if arguments.broker is None and not embedded_url(arguments.database).exists():
        raise ConfigError("no `tillback serve` with a broker of its own runs here: --broker URL")
    url: str = arguments.broker or f"@{embedded_url(arguments.database)}"
    url = read_text(Path(url[1:])).strip() if url.startswith("@") else url
    return Address.parse(url, arguments.ca, arguments.cert, arguments.key)


def add_listen(parser: argparse.ArgumentParser, default: str | None, what: str) -> None:
    """Adds where HTTP serves `what`; default None: nowhere."""
    parser.add_argument("--listen", type=host_port, default=default, metavar="HOST:PORT",
                        help=f"where HTTP serves {what} (default: {default or 'nowhere'})")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE",
                        help="for HTTPS: our certificate, in PEM")  # fmt: skip
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="the key of --tls-cert")


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
