"""`tillback broker-config`: the broker that production stands on."""

import argparse
from pathlib import Path

from tillback.broker import mosquitto
from tillback.cli.common import AddCommand


def add_parser(command: AddCommand) -> None:
    """Adds it to the command line."""
    config = command("broker-config", _config, "write a configuration for mosquitto, with the "
                     "backend's password and URL")  # fmt: skip
    config.add_argument("--dir", type=Path, required=True, metavar="DIR", dest="folder",
                        help="for mosquitto alone: its data and passwords lie there too")
    config.add_argument("--ca", type=Path, required=True, metavar="PEM",
                        help="the CA of the chargers' certificates")  # fmt: skip
    config.add_argument("--cert", type=Path, required=True, metavar="PEM",
                        help="the broker's own certificate, in the name that the chargers call")
    config.add_argument("--key", type=Path, required=True, metavar="PEM", help="the key of --cert")
    config.add_argument("--crl", type=Path, metavar="PEM",
                        help="certificates that the CA has revoked")  # fmt: skip
    config.add_argument("--port", type=_port, default=8883, help="the chargers' (default 8883)")
    config.add_argument("--backend-port", type=_port, default=1883,
                        help="the backend's, on the loopback interface (default 1883)")
    config.add_argument("--backend-host", metavar="NAME",
                        help="the broker's name in its certificate, where a backend is on another "
                        "machine: its port is then on every interface, with TLS")  # fmt: skip


def _config(arguments: argparse.Namespace) -> int:
    file = mosquitto.write(
        arguments.folder, ca=arguments.ca, certificate=arguments.cert, key=arguments.key,
        crl=arguments.crl, port=arguments.port, backend_port=arguments.backend_port,
        backend_host=arguments.backend_host,
    )  # fmt: skip
    print(f"start the broker: mosquitto -c {file}")
    print(f"and the backend: tillback serve --broker @{file.with_name(mosquitto.URL)}")
    return 0


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError("want 1 to 65535")
    return number
