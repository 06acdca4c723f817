"""`tillctl keys`: a charger's public record key in every form that somebody asks for."""

import argparse
import json
from pathlib import Path
from typing import Any

from evtill.core.errors import ConfigError
from tillctl.public_key import PublicKey


def add_parser(commands: Any) -> None:
    """Registers `keys` with argparse's subparsers."""
    parser = commands.add_parser(
        "keys", help="show a charger's public record key", description="Prints the key with which "
        "everybody can check a charger's records: as PEM, as JWK, as SubjectPublicKeyInfo in hex "
        "(what the Transparenzsoftware asks for) and as a QR code of that, which --svg and --png "
        "write as a sticker for the charger, with its id under it.",
    )  # fmt: skip
    parser.add_argument("key", type=Path, help="what `tillctl provision` left (.json or .pub.pem), "
                        "or the key as PEM, JWK or hex")  # fmt: skip
    parser.add_argument("--charger", metavar="ID", help="its id, where the file does not say it")
    parser.add_argument("--only", choices=["pem", "jwk", "kid", "hex", "qr"],
                        help="this form and nothing else")  # fmt: skip
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the sticker, as SVG")
    parser.add_argument("--png", type=Path, metavar="FILE", help="write the sticker, as PNG")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises EvtillError for a key that cannot be read."""
    from tillctl import sticker  # takes longer to load than all of tillctl

    key = PublicKey.read(args.key)
    charger = args.charger or _charger_in(args.key)
    if args.svg or args.png:
        if not charger:
            raise ConfigError("the sticker needs the charger's id: --charger")
        if args.svg:
            args.svg.write_text(sticker.svg(key, charger))
        if args.png:
            sticker.png(key, charger, args.png)
        return 0
    forms = {"pem": ("PEM", key.pem.rstrip()), "jwk": ("JWK", json.dumps(key.jwk)),
             "kid": ("kid (RFC 7638 thumbprint)", key.kid),
             "hex": ("SubjectPublicKeyInfo, hex", key.spki.hex())}  # fmt: skip
    if args.only != "qr":
        if args.only:
            print(forms[args.only][1])
            return 0
        print(f"The public record key of {charger or 'a charger'}\n")
        for name, text in forms.values():
            print(f"{name}\n{text}\n")
        print("QR code of the hex")
    sticker.code(key).terminal(compact=True)
    return 0


def _charger_in(path: Path) -> str | None:
    """The charger's id in the file that provisioning left, also in the one beside its PEM."""
    for one in (path, path.with_name(path.name.removesuffix(".pub.pem") + ".json")):
        try:
            found = json.loads(one.read_text())
            return str(found["charger"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
