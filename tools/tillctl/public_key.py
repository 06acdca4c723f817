"""A charger's public record key, as PEM in files and as a point in core's formats."""

import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from evtill.core import jws
from evtill.core.crypto.der import der_decode
from evtill.core.errors import SignatureError


class PublicKey:
    """A P-256 public key. `point`: (x, y); `kid`: its RFC 7638 thumbprint; `pem`: text."""

    def __init__(self, pem: str | bytes) -> None:
        """Raises SignatureError unless `pem` is one P-256 public key."""
        data = pem.encode() if isinstance(pem, str) else pem
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, TypeError) as error:
            raise SignatureError("not a public key in PEM") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise SignatureError("not a P-256 public key")
        numbers = key.public_numbers()
        self.point = (numbers.x, numbers.y)
        self.kid: str = jws.thumbprint(self.point)
        self.spki = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.pem = key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()

    @classmethod
    def read(cls, path: Path) -> "PublicKey":
        """The key in the file `path`. Raises SignatureError with the file's name."""
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise SignatureError(f"{path}: {error.strerror or error}") from error
        except SignatureError as error:
            raise SignatureError(f"{path}: {error}") from error

    def is_signed(self, data: bytes, der: bytes) -> bool:
        """Whether `der` (minimal DER) is this key's ECDSA signature over the SHA-256 of `data`."""
        try:
            r, s = der_decode(der)
        except SignatureError:
            return False
        return OpenSsl().verify(self.point, hashlib.sha256(data).digest(), r, s)


class OpenSsl:
    """Stands where core.jws takes a P256 to verify with, at a backend's speed."""

    def verify(self, point: tuple[int, int], digest: bytes, r: int, s: int) -> bool:
        """Whether (r, s) signs the SHA-256 `digest` under `point`."""
        try:
            key = ec.EllipticCurvePublicNumbers(*point, ec.SECP256R1()).public_key()
            signature = utils.encode_dss_signature(r, s)
            key.verify(signature, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        except (InvalidSignature, ValueError):
            return False
        return True
