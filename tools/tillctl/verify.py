"""What a usage record proves, checked offline from the charger's public key."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from evtill.core import bill, jws, record_check
from evtill.core.errors import EvtillError, RecordError, SignatureError
from evtill.core.tariff import Tariff
from tillctl import reprice
from tillctl.amounts import money
from tillctl.key_ring import KeyRing
from tillctl.public_key import OpenSsl, PublicKey
from tillctl.tariff_file import TariffFile, TariffFiles
from tillctl.tariff_model import minor_digits

OK, FAIL, SKIPPED, NOTE = "ok", "FAIL", "skipped", "note"
# What each check proves when it holds.
PROVES = {
    "jws signature": "not one bit has changed since the holder of this key signed it",
    "key id": "the record itself says which key signed it, and this is the one",
    "key in force": "it was this charger's turn to sign with this key",
    "payload": "every field is there, of its type and within its range",
    "ocmf signature": "a stranger's verifier can check the readings alone",
    "ocmf readings": "the bill is about what the meter readings say",
    "meter signature": "the meter itself has measured and signed, whatever the charger says",
    "energy": "what is billed is what the meter counted",
    "periods": "the lines add up to the total",
    "tariff": "the tariff given is, bit for bit, the one that the session began with",
    "bill": "every price and sum follows from that tariff",
}


@dataclass(frozen=True)
class Check:
    """One line of the answer: what was checked, whether it holds, and what it was found to be."""

    name: str
    result: str
    text: str

    @property
    def proves(self) -> str | None:
        """What is proven by it, if it holds."""
        return PROVES.get(self.name) if self.result == OK else None

    def __str__(self) -> str:
        proves = f" -> {self.proves}" if self.proves else ""
        return f"{self.result:4} {self.name}: {self.text}{proves}"


@dataclass
class Verified:
    """A record and its checks. `key`: the one it was checked with. `record`: None when its payload
    cannot be read."""

    jws: bytes
    sha256: str
    key: PublicKey
    record: dict[str, Any] | None = None
    checks: list[Check] = field(default_factory=list)

    @property
    def is_signed(self) -> bool:
        """Whether the JWS's own signature holds."""
        return self.checks[0].result == OK

    @property
    def name(self) -> str:
        """The record's id, or the beginning of its hash."""
        return str(self.record["id"]) if self.record else self.sha256[:12]

    def holds(self, without_tariff: bool = False) -> bool:
        """Whether every check holds; those that need the tariff may be waived."""
        good = (OK, SKIPPED) if without_tariff else (OK,)
        return all(
            check.result in (good if check.name != "meter signature" else (OK, SKIPPED))
            for check in self.checks
        )


def verify(
    published: bytes, key: PublicKey | KeyRing, tariff: TariffFile | TariffFiles | None = None,
    meter_key: PublicKey | None = None,
) -> Verified:  # fmt: skip
    """Checks one published usage record (a JWS) against the charger's key, or its keys; what the
    meter itself has signed, against meter_key."""
    ring = key if isinstance(key, KeyRing) else None
    key = key.key_for(published) if isinstance(key, KeyRing) else key
    done = Verified(published, hashlib.sha256(published).hexdigest(), key)
    say = Sayer(done.checks)
    payload = _check_envelope(published, key, say)
    if payload is not None:
        with say("payload") as said:
            done.record = record_check.parse(payload)
            said.text = f"well-formed, {done.record['id']}"
    found = done.record
    if ring is not None and found is not None and ring.has_terms:
        with say("key in force") as said:
            said.text = ring.check(found, key.kid)
    if found is None:
        for name in ("ocmf signature", "ocmf readings", "energy", "periods", "tariff", "bill"):
            say.skip(name, "the payload cannot be read", FAIL)
        return done
    _check_ocmf(found, key, say)
    if "meter_ocmf" in found:
        _check_meter(found, meter_key, say)
    with say("energy") as said:
        said.text = measured(found)
    with say("periods") as said:
        said.text = add_up(found)
    _check_bill(found, tariff, say)
    return done


class Sayer:
    """A list of checks that grows: what happens inside `with say(name) as said` becomes one."""

    class _Said:
        def __init__(self, sayer: "Sayer", name: str) -> None:
            self._sayer, self._name, self.text = sayer, name, ""

        def __enter__(self) -> "Sayer._Said":
            return self

        def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> bool:
            if error is not None and not isinstance(error, EvtillError | reprice.Mismatch):
                return False
            result, text = (OK, self.text) if error is None else (FAIL, str(error))
            self._sayer.checks.append(Check(self._name, result, text))
            return True

    def __init__(self, checks: list[Check]) -> None:
        self.checks = checks

    def __call__(self, name: str) -> "Sayer._Said":
        return self._Said(self, name)

    def skip(self, name: str, why: str, result: str = SKIPPED) -> None:
        self.checks.append(Check(name, result, why))

    def note(self, name: str, what: str) -> None:
        self.checks.append(Check(name, NOTE, what))

    def fail(self, name: str, what: str) -> None:
        self.checks.append(Check(name, FAIL, what))


def _check_envelope(published: bytes, key: PublicKey, say: Sayer) -> bytes | None:
    """The payload, also of a JWS that is not as signed, so that the rest can be looked at."""
    payload = None
    with say("jws signature") as said:
        payload, kid = jws.es256_verify(published, jws.USAGE, key.point, OpenSsl())
        said.text = f"ES256, by the key given, over bytes 0 to {published.rfind(b'.') - 1}"
    if payload is not None:
        with say("key id") as said:
            if kid != key.kid:
                raise SignatureError(f"kid {kid[:43]!a} is not the key's thumbprint {key.kid}")
            said.text = f"{kid} is the key's thumbprint"
        return payload
    say.skip("key id", "not looked at in an envelope that is not as signed", FAIL)
    try:
        return jws.b64url_decode(published.split(b".")[1])
    except (EvtillError, IndexError):
        return None


def _check_ocmf(found: dict[str, Any], key: PublicKey, say: Sayer) -> None:
    meant = None
    with say("ocmf signature") as said:
        body, meant, der = record_check.parse_ocmf(found["ocmf"])
        if not key.is_signed(body, der):
            raise SignatureError("does not verify")
        said.text = f"ECDSA-secp256r1-SHA256, by the key given, over {len(body)} bytes"
    if meant is None:
        say.skip("ocmf readings", "the OCMF string cannot be read", FAIL)
        return
    with say("ocmf readings") as said:
        said.text = readings(found, meant)


def readings(found: dict[str, Any], meant: dict[str, Any]) -> str:
    """Says that a record (parsed) is about the readings of its OCMF string (parsed). Raises
    RecordError."""
    begin, end = meant["RD"]
    meter = found["meter"]
    for name, one, other in (
        ("begin", begin["wh"], meter["start_wh"]), ("end", end["wh"], meter["end_wh"]),
        ("MS", meant["MS"], meter["serial"]), ("CI", meant["CI"], found["charger"]),
    ):  # fmt: skip
        if one != other:
            raise RecordError(f"{name} is {one}, the record says {other}")
    start_s = reprice.unix_s(found["start_date_time"])
    end_s = reprice.unix_s(found["end_date_time"])
    if not start_s <= begin["unix_s"] <= end["unix_s"] <= end_s:
        raise RecordError("the readings were not taken within the session")
    return f"{begin['TM']} {begin['wh']} Wh to {end['TM']} {end['wh']} Wh, as recorded"


def measured(found: dict[str, Any]) -> str:
    """Says that a record's energy is what the meter counted. Raises RecordError."""
    meter, total = found["meter"], found["total_energy_wh"]
    if meter["end_wh"] - meter["start_wh"] != total:
        raise RecordError(f"{total} Wh is not {meter['end_wh']} - {meter['start_wh']}")
    return f"{total} Wh = {meter['end_wh']} - {meter['start_wh']}"


def _check_meter(found: dict[str, Any], key: PublicKey | None, say: Sayer) -> None:
    """The meter's own string; what it reads is in its own words, which nobody here rewrites."""
    if key is None:
        say.skip("meter signature", "the meter's key is not given (--meter-key)")
        return
    with say("meter signature") as said:
        parts = found["meter_ocmf"].split("|")
        if len(parts) != 3 or parts[0] != "OCMF":
            raise RecordError("meter_ocmf: not OCMF|{...}|{...}")
        try:
            meant, seal = json.loads(parts[1]), json.loads(parts[2])
            algorithm, der = seal["SA"], bytes.fromhex(seal["SD"])
            serial = meant.get("MS", found["meter"]["serial"])
        except (ValueError, TypeError, KeyError, AttributeError):
            raise RecordError("meter_ocmf: not OCMF|{...}|{...}") from None
        if algorithm != "ECDSA-secp256r1-SHA256":
            raise SignatureError(f"meter_ocmf: algorithm {algorithm!a:.40} is not known")
        if not key.is_signed(parts[1].encode(), der):
            raise SignatureError("does not verify")
        if serial != found["meter"]["serial"]:
            raise RecordError(f"MS is {serial!a:.40}, the record says {found['meter']['serial']}")
        said.text = f"{algorithm}, by the meter's key, over {len(parts[1])} bytes"


def add_up(found: dict[str, Any]) -> str:
    """Says that a record's periods add up to its totals. Raises RecordError."""
    lines = [line for period in found["charging_periods"] for line in period["dimensions"]]
    for key in ("excl_minor", "incl_minor"):
        total = sum(line[key] for line in lines)
        if total != found["total_cost"][key]:
            raise RecordError(f"{key} of the lines is {total}, not {found['total_cost'][key]}")
    whole, _, decimals = found["total_cost"]["exact_excl"].lstrip("-").partition(".")
    scale = 10 ** minor_digits(found["currency"])
    sign = -1 if found["total_cost"]["exact_excl"].startswith("-") else 1
    exact = bill.half_up(sign * int(whole + decimals) * scale, 10 ** len(decimals))
    if exact != found["total_cost"]["excl_minor"]:
        raise RecordError("exact_excl does not round to excl_minor")
    energy_n = sum(reprice.volume_nano(line) for line in lines if line["type"] == "ENERGY")
    over_n = energy_n - found["total_energy_wh"] * reprice.NANO
    if over_n < 0:
        raise RecordError("the ENERGY lines are less than total_energy_wh")
    counted = found["total_time_ms"], found["total_time_ms"] + found["total_parking_time_ms"]
    if all(abs(ms - found["clock"]["duration_ms"]) > 1000 for ms in counted):
        raise RecordError("charging and parking time are not the session's duration")
    text = f"lines: {len(lines)}, periods: {len(found['charging_periods'])}; they add up"
    return text + (f", {over_n / reprice.NANO:g} Wh of it by a step size" if over_n else "")


def _check_bill(found: dict[str, Any], file: TariffFile | TariffFiles | None, say: Sayer) -> None:
    if file is None:
        say.skip("tariff", "no tariff given")
        say.skip("bill", "not recomputed without the tariff")
        return
    tariff: Tariff | None = None
    with say("tariff") as said:
        tariff = file.find(found)
        said.text = f"{tariff.id}, sha256 {tariff.sha256} as recorded"
    if tariff is None:
        say.skip("bill", "not recomputed with another tariff", FAIL)
        return
    with say("bill") as said:
        wrong = reprice.differences(found, reprice.reprice(found, tariff))
        if wrong:
            raise RecordError("; ".join(wrong[:3]))
        cost = found["total_cost"]
        excl, incl = (money(cost[key], found["currency"]) for key in ("excl_minor", "incl_minor"))
        said.text = f"recomputed from the tariff: {excl} excl. VAT, {incl} incl. VAT"
