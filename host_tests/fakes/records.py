"""Signed usage records as a charger would publish them, signed by `cryptography`."""

import hashlib
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from evtill.core import jws, ocmf, record
from tillctl.public_key import PublicKey
from tillctl.tariff_compile import compile_tariff

CHARGER = "DE*EVT*E000123"
ZEROS = "0" * 64
START_S = 1772435645  # 2026-03-02T07:14:05Z
END_S = 1772440307  # 2026-03-02T08:31:47Z
OCPI_TARIFF = {
    "id": "DE*EVT*T1", "currency": "EUR",
    "elements": [{"price_components": [
        {"type": "ENERGY", "price": 0.49, "vat": 19, "step_size": 1},
    ]}],
}  # fmt: skip
TARIFF = compile_tariff(OCPI_TARIFF, "UTC", 2026)  # the one of the design's example session


class Signer:
    """A record key that is not evtill's own code, with RFC 6979's nonces: a test's records are
    the same each time. `public`: PublicKey."""

    def __init__(self, secret: int = 0xE57111) -> None:
        self._key = ec.derive_private_key(secret, ec.SECP256R1())
        self.public = PublicKey(
            self._key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def sign(self, digest: bytes) -> tuple[int, int]:
        method = ec.ECDSA(utils.Prehashed(hashes.SHA256()), deterministic_signing=True)
        der = self._key.sign(digest, method)
        return utils.decode_dss_signature(der)


def facts(seq: int = 42, prev: str = ZEROS, **changes: Any) -> dict[str, Any]:
    """The design's example session, with `changes`."""
    found: dict[str, Any] = {
        "id": f"{CHARGER}-{seq}", "seq": seq, "prev": prev, "charger": CHARGER,
        "firmware": "0.3.0", "boot": 7, "start_unix_s": START_S, "end_unix_s": END_S,
        "clock_start": "S", "clock_end": "S", "duration_ms": 4662000, "auth_method": "WHITELIST",
        "auth": {"method": "rfid", "token": "9c1f0a6be24d7e35", "assurance": "uid", "ref": None,
                 "ceiling_minor": None},
        "meter": {"vendor": "Eastron", "model": "SDM630", "serial": "1234567",
                  "start_wh": 1045120, "end_wh": 1057465},
        "tariff": {"id": "DE*EVT*T1", "sha256": hashlib.sha256(TARIFF).hexdigest()},
        "tariff_text": "0.49 EUR/kWh + 19 % VAT", "currency": "EUR", "stop_reason": "Local",
        "flags": [], "amends": None, "tx": "L", "offset_s": 3600,
    }  # fmt: skip
    return found | changes


def bill() -> dict[str, Any]:
    """The bill of the design's example: 12,345 Wh at 0.49 EUR/kWh, 19 % VAT."""
    line = {"type": "ENERGY", "volume": 12345, "price_micro": 490000, "vat_ppm": 190000,
            "excl_minor": 605, "incl_minor": 720}  # fmt: skip
    return {
        "periods": [{"start_ms": START_S * 1000, "dimensions": [line]}],
        "excl_minor": 605, "incl_minor": 720, "exact_excl": "6.04905", "energy_wh": 12345,
        "time_ms": 4662000, "parking_ms": 0,
    }  # fmt: skip


def ocmf_facts(of: dict[str, Any]) -> dict[str, Any]:
    """What ocmf.build takes, from the record's facts."""
    meter, offset_s = of["meter"], of["offset_s"]
    return {
        "pagination": of["seq"], "charger": of["charger"], "firmware": of["firmware"],
        "meter": meter, "auth": of["auth"], "tariff_text": of["tariff_text"], "tx": of["tx"],
        "begin": (of["start_unix_s"], offset_s, of["clock_start"], meter["start_wh"]),
        "end": (of["end_unix_s"], offset_s, of["clock_end"], meter["end_wh"]),
    }  # fmt: skip


def sealed_ocmf(signer: Signer, of: dict[str, Any]) -> bytes:
    return written_ocmf(ocmf_facts(of), signer.sign)


def written_ocmf(of: dict[str, Any], sign: Callable[[bytes], tuple[int, int]]) -> bytes:
    """The complete string of ocmf.build's facts, signed by `sign(digest) -> (r, s)`."""
    out = bytearray(ocmf.MAX_BYTES)
    end = ocmf.build(of, out)
    digest = hashlib.sha256(out[ocmf.START : end]).digest()
    return bytes(out[: ocmf.seal(out, end, *sign(digest))])


def payload(signer: Signer, of: dict[str, Any], billed: dict[str, Any] | None = None) -> bytes:
    return record.build(of | {"ocmf": sealed_ocmf(signer, of)}, billed or bill())


def envelope(signer: Signer, body: bytes) -> bytes:
    return jws.es256_sign(body, jws.USAGE, signer.public.kid, signer.sign)


def signed(signer: Signer, seq: int = 42, prev: str = ZEROS, **changes: Any) -> bytes:
    """A published usage record (JWS)."""
    return envelope(signer, payload(signer, facts(seq, prev, **changes)))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
