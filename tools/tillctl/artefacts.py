"""Artefacts for chargers, signed by the operator's offline key (core.artefact says how)."""

import hashlib
import json
import os
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from evtill.core import artefact, jws
from evtill.core.errors import ArtefactError
from tillctl.public_key import PublicKey


class OperatorKey:
    """The private key in a PEM file. public: its PublicKey. Raises ArtefactError, OSError."""

    def __init__(self, path: Path, make: bool = False) -> None:
        """make: makes it, readable for its owner alone, where there is none."""
        if make and not path.exists():
            made = ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )  # fmt: skip
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
                f.write(made)
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError) as e:
            raise ArtefactError(f"{path}: not a private key in PEM without a password") from e
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ArtefactError(f"{path}: not a P-256 key")
        self._key = key
        numbers = key.public_key().public_numbers()
        self.public = PublicKey.of_point((numbers.x, numbers.y))

    def sign(self, digest: bytes) -> tuple[int, int]:
        signature = self._key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        return utils.decode_dss_signature(signature)


def seal(content: bytes, typ: str, audience: str, version: int, not_before: int, expires: int,
         key: OperatorKey) -> bytes:  # fmt: skip
    """The artefact: envelope, newline, content. Raises ArtefactError."""
    said = artefact.claims(
        typ, audience, version, not_before, expires, hashlib.sha256(content).hexdigest()
    )
    envelope = jws.es256_sign(said, artefact.TYP, key.public.kid, key.sign)
    if len(envelope) > artefact.ENVELOPE_MAX:
        raise ArtefactError(f"envelope is longer than {artefact.ENVELOPE_MAX} bytes")
    return envelope + b"\n" + content


def split(data: bytes) -> tuple[bytes | None, bytes]:
    """(envelope, content) of an artefact; (None, data) of what is not signed."""
    if not data.startswith(b"eyJ"):
        return None, data
    envelope, _, content = data.partition(b"\n")
    return envelope, content


def said(envelope: bytes) -> dict:
    """What an envelope says, its signature unchecked. Raises ArtefactError."""
    try:
        found = json.loads(jws.b64url_decode(envelope.split(b".")[1]))
    except (ValueError, IndexError, jws.SignatureError):
        found = None
    if not isinstance(found, dict):
        raise ArtefactError("not an artefact's envelope")
    return found
