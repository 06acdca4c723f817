"""An itemised receipt of one session: one model, as text for a terminal and as a page."""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2

from evtill.core import jws, record_check
from evtill.core.bill import half_up
from evtill.core.errors import EvtillError, RecordError
from evtill.core.text import civil
from tillback import words
from tillback.vat import CLAMPS, split_vat
from tillctl import amounts, reprice
from tillctl.key_ring import KeyRing
from tillctl.public_key import PublicKey
from tillctl.verify import FAIL, verify

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
           "October", "November", "December")  # fmt: skip
_PER = {"ENERGY": "kWh", "TIME": "h", "PARKING_TIME": "h", "RESERVATION_TIME": "h"}


@dataclass(frozen=True)
class Line:
    """What one line of the bill is for. `share`: of the total, in per mille, for a picture."""

    what: str
    volume: str
    rate: str
    vat: str
    gross: str
    share: int


@dataclass(frozen=True)
class Period:
    """The lines from one change of price to the next."""

    since: str
    lines: list[Line]


@dataclass(frozen=True)
class Vat:
    """One VAT rate's part of the total."""

    rate: str
    net: str
    vat: str
    gross: str


@dataclass(frozen=True)
class Receipt:
    """Everything that a receipt says, as text; amounts with the currency's sign in `total`."""

    id: str
    sha256: str
    kid: str
    charger: str
    firmware: str
    meter: str
    serial: str
    begin: str
    begin_clock: str
    end: str
    end_clock: str
    zone: str
    duration: str
    energy: str
    begin_reading: str
    end_reading: str
    paid_by: str
    token: str
    stopped: str
    tariff: str
    tariff_text: str
    tariff_sha256: str
    periods: list[Period]
    vat: list[Vat]
    net: str
    vat_total: str
    gross: str
    total: str
    notes: list[str]
    amends: str
    verified: list[str]
    faults: list[str]


def model(published: bytes, key: PublicKey | KeyRing | None = None) -> Receipt:
    """The receipt of a published record (JWS). With the charger's `key`, its signatures and sums
    are checked and what fails stands in `faults`. Raises RecordError for an unreadable record."""
    try:
        header = json.loads(jws.b64url_decode(published.split(b".")[0]))
        payload = jws.b64url_decode(published.split(b".")[1])
    except (EvtillError, IndexError, ValueError):
        raise RecordError("not a usage record (JWS)") from None
    found = record_check.parse(payload)
    _, meant, _ = record_check.parse_ocmf(found["ocmf"])
    begin = meant["RD"][0]
    offset_s = record_check.civil_s(begin["TM"][:19]) - begin["unix_s"]
    cost, currency = found["total_cost"], found["currency"]
    split = split_vat(found, cost["incl_minor"])
    checks = [] if key is None else verify(published, key).checks
    clock = found["clock"]
    vat_total = sum(vat for _, _, vat in split)
    return Receipt(
        id=found["id"], sha256=hashlib.sha256(published).hexdigest(),
        kid=_kid(header),
        charger=found["charger"], firmware=found["firmware"],
        meter=" ".join(meant[key] for key in ("MV", "MM") if key in meant),
        serial=found["meter"]["serial"],
        begin=_when(found["start_date_time"], offset_s, clock["start"]),
        begin_clock=words.CLOCKS[clock["start"]],
        end=_when(found["end_date_time"], offset_s, clock["end"]),
        end_clock=words.CLOCKS[clock["end"]],
        zone=_zone(offset_s), duration=amounts.duration(clock["duration_ms"]),
        energy=amounts.energy(found["total_energy_wh"]),
        begin_reading=amounts.energy(found["meter"]["start_wh"]),
        end_reading=amounts.energy(found["meter"]["end_wh"]),
        paid_by=f"{words.METHODS[found['auth']['method']]}, "
        f"{words.ASSURANCES[found['auth']['assurance']]}",
        token=found["auth"]["token"] or "", stopped=words.STOP_REASONS[found["stop_reason"]],
        tariff=found["tariff"]["id"],
        tariff_text=meant["TT"].removeprefix(found["tariff"]["id"]).removeprefix(": "),
        tariff_sha256=found["tariff"]["sha256"], periods=_periods(found, offset_s),
        vat=[
            Vat(
                "not applicable" if rate is None else amounts.percent(rate),
                amounts.money(gross - vat, currency), amounts.money(vat, currency),
                amounts.money(gross, currency),
            )
            for rate, gross, vat in split
        ],
        net=amounts.money(cost["incl_minor"] - vat_total, currency),
        vat_total=amounts.money(vat_total, currency),
        gross=amounts.money(cost["incl_minor"], currency),
        total=amounts.money_sign(cost["incl_minor"], currency),
        notes=[words.FLAGS[flag] for flag in found["flags"]], amends=found["amends"] or "",
        verified=[check.name for check in checks if check.result == "ok"],
        faults=[f"{check.name}: {check.text}" for check in checks if check.result == FAIL],
    )  # fmt: skip


def view(
    _payload: dict[str, Any], published: str | bytes, key: PublicKey | KeyRing | None = None
) -> Receipt:
    """model() of a line of records.jsonl: {payload, jws}; the signed bytes are what counts."""
    return model(published.encode() if isinstance(published, str) else published, key)


def text(receipt: Receipt) -> str:
    """The receipt for a terminal, 72 columns wide."""
    return _environment().get_template("receipt.txt.j2").render(r=receipt)


def html(receipt: Receipt) -> str:
    """The receipt as one page: nothing is loaded, no script runs."""
    return _environment(autoescape=True).get_template("receipt.html.j2").render(r=receipt)


def _periods(found: dict[str, Any], offset_s: int) -> list[Period]:
    currency, total = found["currency"], found["total_cost"]["incl_minor"]
    periods = []
    energy_n = 0
    stepped = _stepped(found)
    for period in found["charging_periods"]:
        start_s = record_check.unix_s(period["start_date_time"])
        known = found["clock"]["start"] != "U"
        after_s = start_s - record_check.unix_s(found["start_date_time"])
        elapsed = f"+{amounts.duration(after_s * 1000)}"
        since = civil(start_s + offset_s)[11:16] if known else elapsed
        lines = []
        for line in period["dimensions"]:
            shown_wh = 0
            if line["type"] == "ENERGY":  # rounded so that the lines add up
                before_wh = half_up(energy_n, reprice.NANO)
                energy_n += reprice.volume_nano(line)
                shown_wh = half_up(energy_n, reprice.NANO) - before_wh
            shown = _line(line, shown_wh, currency, total)
            lines.append(replace(shown, vat=shown.vat + stepped.pop(id(line), "")))
        periods.append(Period(since, lines))
    return periods


def _stepped(found: dict[str, Any]) -> dict[int, str]:
    """What to say of a line that a step size made longer than what was measured, by its id()."""
    said = {}
    for kind, measured in (
        ("ENERGY", found["total_energy_wh"] * reprice.NANO),
        ("TIME", (found["total_time_ms"] + 1) * 10**6),
        ("PARKING_TIME", (found["total_parking_time_ms"] + 1) * 10**6),
    ):
        lines = [
            line for period in found["charging_periods"] for line in period["dimensions"]
            if line["type"] == kind
        ]  # fmt: skip
        if sum(map(reprice.volume_nano, lines)) > measured:
            said[id(lines[-1])] = ", rounded up to the tariff's step"
    return said


def _line(line: dict[str, Any], shown_wh: int, currency: str, total: int) -> Line:
    kind = line["type"]
    volume = ""
    if kind == "ENERGY":
        volume = amounts.energy(shown_wh)
    elif kind in _PER:
        volume = amounts.duration(line["volume_ms"]) + " h"
    rate = vat = ""
    if kind not in CLAMPS:
        price = amounts.price(line["price_micro"])
        rate = f"{price} {currency}/{_PER.get(kind, 'session')}" if line["price_micro"] else "free"
        vat_nano = reprice.vat_nano(line)
        vat = ", VAT not applicable" if vat_nano is None else f" + {amounts.percent(vat_nano)} VAT"
        vat = vat if line["price_micro"] else ""
    share = max(0, line["incl_minor"]) * 1000 // total if total > 0 else 0
    gross = amounts.money(line["incl_minor"], currency)
    return Line(words.DIMENSIONS[kind], volume, rate, vat, gross, min(share, 1000))


def _when(stamp: str, offset_s: int, letter: str) -> str:
    """`2 March 2026, 08:14:05`, or that it is unknown."""
    if letter == "U" and stamp < "2020":
        return "unknown"
    local = civil(record_check.unix_s(stamp) + offset_s)
    month = _MONTHS[int(local[5:7]) - 1]
    return f"{int(local[8:10])} {month} {local[:4]}, {local[11:]}"


def _kid(header: Any) -> str:
    """The key's thumbprint as the envelope says, if it has the form of one."""
    kid = header.get("kid") if isinstance(header, dict) else None
    return kid if isinstance(kid, str) and re.fullmatch("[A-Za-z0-9_-]{43}", kid) else "not given"


def _zone(offset_s: int) -> str:
    minutes = abs(offset_s) // 60
    return f"UTC{'-' if offset_s < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _environment(autoescape: bool = False) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=autoescape,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
