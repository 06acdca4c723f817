"""A charger's public record key, as PEM in files and as a point in core's formats."""

import hashlib
import json
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from evtill.core import jws
from evtill.core.crypto.der import der_decode, sec1_decode, spki_decode
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
        self._key = key
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
    def of_point(cls, point: tuple[int, int]) -> "PublicKey":
        """The key at the point (x, y) of the curve."""
        numbers = ec.EllipticCurvePublicNumbers(*point, ec.SECP256R1())
        pem, spki = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return cls(numbers.public_key().public_bytes(pem, spki))

    @classmethod
    def read(cls, path: Path) -> "PublicKey":
        """The key in the file `path`: PEM, SubjectPublicKeyInfo in hex (as on the sticker), a JWK,
        or what `tillctl provision` left. Raises SignatureError with the file's name."""
        try:
            return cls._of(path.read_bytes().strip())
        except OSError as error:
            raise SignatureError(f"{path}: {error.strerror or error}") from error
        except SignatureError as error:
            raise SignatureError(f"{path}: {error}") from error

    @classmethod
    def _of(cls, data: bytes) -> "PublicKey":
        if data.startswith(b"{"):
            try:
                found = json.loads(data)
                if "public_key" in found:
                    return cls(str(found["public_key"]))
                x, y = (jws.b64url_decode(str(found[name]).encode()) for name in "xy")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise SignatureError("neither provisioning's file nor a JWK") from error
            if (found.get("kty"), found.get("crv")) != ("EC", "P-256"):
                raise SignatureError("not a P-256 JWK")
            return cls.of_point(sec1_decode(b"\4" + x + y))
        if not data.startswith(b"3059"):
            return cls(data)
        try:
            return cls.of_point(spki_decode(bytes.fromhex(data.decode())))
        except ValueError as error:
            raise SignatureError("not a public key in hex") from error

    @property
    def jwk(self) -> dict[str, str]:
        """The key as a JWK (RFC 7517), `kid` its RFC 7638 thumbprint."""
        x, y = (jws.b64url_encode(n.to_bytes(32, "big")).decode() for n in self.point)
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": self.kid, "alg": "ES256",
                "use": "sig"}  # fmt: skip

    def is_signed(self, data: bytes, der: bytes) -> bool:
        """Whether `der` (minimal DER) is this key's ECDSA signature over the SHA-256 of `data`."""
        try:
            r, s = der_decode(der)
        except SignatureError:
            return False
        return self.verify(hashlib.sha256(data).digest(), r, s)

    def verify(self, digest: bytes, r: int, s: int) -> bool:
        """Whether (r, s) is this key's signature over the SHA-256 `digest`."""
        return _verifies(self._key, digest, r, s)


class OpenSsl:
    """Stands where core.jws takes a P256 to verify with, at a backend's speed. key: one that need
    not be made of its point again."""

    def __init__(self, key: PublicKey | None = None) -> None:
        self._key = key

    def verify(self, point: tuple[int, int], digest: bytes, r: int, s: int) -> bool:
        """Whether (r, s) signs the SHA-256 `digest` under `point`."""
        if self._key is not None and self._key.point == point:
            return self._key.verify(digest, r, s)
        try:
            key = ec.EllipticCurvePublicNumbers(*point, ec.SECP256R1()).public_key()
        except ValueError:
            return False
        return _verifies(key, digest, r, s)


_PREHASHED = ec.ECDSA(utils.Prehashed(hashes.SHA256()))


def _verifies(key: ec.EllipticCurvePublicKey, digest: bytes, r: int, s: int) -> bool:
    try:
        key.verify(utils.encode_dss_signature(r, s), digest, _PREHASHED)
    except (InvalidSignature, ValueError):
        return False
    return True
