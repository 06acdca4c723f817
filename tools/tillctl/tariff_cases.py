"""Cases for `tillctl tariff price`: JSON lines in, jobs of integers for tariff_runner, results out.

A case is {name, tariff (or tariffs, a list), timezone, session}; a session is {start, end,
periods} or {samples}, as the README beside host_tests/vectors/tariff_cases says."""

import json
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Any

from evtill.core import tariff
from evtill.core.errors import EvtillError, TariffError
from evtill.core.pricing import CHARGING, IDLE
from tillsim import runtime

from . import firmware
from .runner import tariff_runner
from .tariff_compile import compile_tariff
from .tariff_model import unix_ms

MOST_S = 100 * 366 * 86400
# Where on the command line's `--on`: bits of the interpreter.
INTERPRETERS = {"micropython32": 32, "micropython64": 64}
_TIMES = {"TIME": 1, "PARKING_TIME": 2, "RESERVATION_TIME": 3}
# OCPI 2.2.1, CdrDimensionType.
_DIMENSIONS = (
    *("ENERGY", "TIME", "PARKING_TIME", "RESERVATION_TIME"),
    *("POWER", "MIN_POWER", "MAX_POWER", "CURRENT", "MIN_CURRENT", "MAX_CURRENT"),
    *("ENERGY_EXPORT", "ENERGY_IMPORT", "STATE_OF_CHARGE"),
)
_UNKNOWN = tariff.UNKNOWN
_RUNNER = Path(tariff_runner.__file__).parent


def read(line: str) -> Any:
    """A case out of its line, decimals kept exact. Raises TariffError."""
    try:
        case = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError) as e:
        raise TariffError(f"case: not JSON: {e}") from None
    if not isinstance(case, dict):
        raise TariffError("case: not a JSON object")
    return case


def number(value: Any, what: str) -> Fraction:
    """A JSON number, or a decimal or "n/d" in a string. Raises TariffError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise TariffError(f"session: {what} is not a number: {value!r}")
    try:
        result = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise TariffError(f"session: {what} is not a number: {value!r}") from None
    if abs(result) > 10**12:
        raise TariffError(f"session: {what} is out of range: {value!r}")
    return result


def _need(source: Any, key: str, what: str) -> Any:
    if not isinstance(source, dict):
        raise TariffError(f"session: {what} is not an object")
    if source.get(key) is None:
        raise TariffError(f"session: {what}.{key} is missing")
    return source[key]


def job(case: dict) -> dict:
    """The job of a case: its table compiled, its session in integers. Raises TariffError."""
    session = _need(case, "session", "case")
    if not isinstance(session, dict):
        raise TariffError("session: not an object")
    context = session.get("payment") or {}
    if not isinstance(context, dict):
        raise TariffError("session: payment is not an object")
    if session.get("tariff_type") not in (None, *tariff.KINDS[1:]):
        raise TariffError(f"session: unknown tariff_type {session['tariff_type']!r}")
    made: dict[str, Any] = {
        "name": case.get("name"),
        "kind": session.get("tariff_type"),
        "context": [
            str(context.get(key, "")) for key in ("brand", "recognition", "evse_kind")
        ],
    }  # fmt: skip
    made |= _samples(session) if session.get("samples") is not None else _periods(session)
    offered = case.get("tariffs") or case.get("tariff")
    if offered is None:
        raise TariffError("case: tariff is missing")
    if isinstance(offered, list) and len(offered) > 1 and made["kind"] is None:
        made["kind"] = "REGULAR"
    end_ms = made.pop("end_ms")
    year, until = (_year(ms) for ms in (made["start_ms"], end_ms))
    timezone = case.get("timezone") or "UTC"
    made["table"] = compile_tariff(offered, timezone, year, until).hex()
    return made


def _name(name: Any) -> Any:
    return name if name is None or isinstance(name, str | int) else str(name)


def _year(ms: int) -> int:
    return datetime.fromtimestamp(ms // 1000, UTC).year


def _samples(session: dict) -> dict:
    samples = session["samples"]
    if not isinstance(samples, list) or not samples:
        raise TariffError("session: samples is not a list of at least one")
    start_ms = unix_ms(_need(samples[0], "at", "samples[0]"), "samples[0].at")
    read_samples: list[list[Any]] = []
    for i, sample in enumerate(samples):
        what = f"samples[{i}]"
        at = unix_ms(_need(sample, "at", what), f"{what}.at") - start_ms
        if abs(at) > MOST_S * 1000:
            raise TariffError(f"session: {what}.at is out of range")
        state = _need(sample, "state", what)
        if state not in ("charging", "idle"):
            raise TariffError(f"session: {what}.state is neither charging nor idle: {state!r}")
        register = number(_need(sample, "register_wh", what), f"{what}.register_wh")
        power = _measured(sample, "power_w", 1000, what)
        current = _measured(sample, "current_ma", 1, what)
        read_samples.append(
            [at, register, CHARGING if state == "charging" else IDLE, power, current]
        )
    per_wh = lcm(*(s[1].denominator for s in read_samples))
    if 10**9 % per_wh:
        raise TariffError("session: register_wh is finer than 1e-9 Wh")
    for s in read_samples:
        s[1] = int(s[1] * per_wh)
    return {
        "start_ms": start_ms,
        "end_ms": start_ms + read_samples[-1][0],
        "per_wh": per_wh,
        "samples": read_samples,
    }


def _measured(sample: dict, key: str, per: int, what: str) -> int:
    """A measured power or current, in parts so fine that comparing it floored is exact."""
    if sample.get(key) is None:
        return _UNKNOWN
    return number(sample[key], f"{what}.{key}") * per // 1


def _periods(session: dict) -> dict:
    periods = _need(session, "periods", "session")
    if not isinstance(periods, list) or not periods:
        raise TariffError("session: periods is not a list of at least one")
    first = _need(periods[0], "start", "periods[0]")
    start_ms = unix_ms(session.get("start") or first, "session.start")
    read_periods = [_period(p, start_ms, f"periods[{i}]") for i, p in enumerate(periods)]
    in_use = [p[0] for p in read_periods if p[1][3] is None]
    reserved = any(p[1][3] is not None for p in read_periods)
    return {
        "start_ms": start_ms,
        "end_ms": unix_ms(session.get("end") or periods[-1]["start"], "session.end"),
        # Durations count from the start of charging, which a reservation precedes.
        "origin": in_use[0] if reserved and in_use else 0,
        "expired": bool(session.get("reservation_expired")),
        "periods": read_periods,
    }


def _period(period: Any, start_ms: int, what: str) -> list:
    at = unix_ms(_need(period, "start", what), f"{what}.start") - start_ms
    volumes: list[int | None] = [0, None, None, None]
    measured: dict[str, Fraction] = {}
    dimensions = period.get("dimensions") or []
    if not isinstance(dimensions, list):
        raise TariffError(f"session: {what}.dimensions is not a list")
    for dimension in dimensions:
        kind = _need(dimension, "type", f"{what}.dimensions")
        if kind not in _DIMENSIONS:
            raise TariffError(f"session: {what}: unknown dimension {kind!r}")
        if kind == "ENERGY":
            volumes[0] = (volumes[0] or 0) + _volume(dimension, "mwh", 10**6, 10**12, what)
        elif kind in _TIMES:
            i = _TIMES[kind]
            volumes[i] = (volumes[i] or 0) + _volume(dimension, "ms", 10**6, 3600 * 10**9, what)
        elif kind.endswith(("POWER", "CURRENT")):
            measured[kind] = number(_need(dimension, "volume", what), f"{what}.{kind}")
    lows, highs = (
        [_bound(measured, f"{side}_POWER", "POWER", 10**6),
         _bound(measured, f"{side}_CURRENT", "CURRENT", 1000)]
        for side in ("MIN", "MAX")
    )  # fmt: skip
    return [at, volumes, lows, highs]


def _volume(dimension: dict, key: str, per_key: int, per_volume: int, what: str) -> int:
    """nWh or ns: of the exact integer where the case gives it, else of the decimal volume."""
    if dimension.get(key) is not None:
        volume = number(dimension[key], f"{what}.{key}") * per_key
    else:
        volume = number(_need(dimension, "volume", what), f"{what}.volume") * per_volume
    if volume < 0:
        raise TariffError(f"session: {what}: a negative {dimension['type']} volume")
    return round(volume)


def _bound(measured: dict[str, Fraction], key: str, average: str, per: int) -> int:
    value = measured.get(key, measured.get(average))
    return _UNKNOWN if value is None else value * per // 1


# --- running ----------------------------------------------------------------------------------


def price(lines: Iterable[str], on: str = "cpython") -> Iterator[dict]:
    """The result of each case, in order: {name, ...} or {name, error}."""
    slots: list[dict] = []
    jobs = []
    for line in lines:
        if not line.strip():
            continue
        name = None
        try:
            case = read(line)
            name = case["name"] = _name(case.get("name"))
            jobs.append(job(case))
            slots.append({})
        except EvtillError as e:
            slots.append({"name": name, "error": str(e)})
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as e:
            slots.append({"name": name, "error": f"case: not of the documented shape: {e}"})
    if on == "cpython":
        results: Iterator[dict] = (tariff_runner.attempt(j) for j in jobs)
    else:
        results = _on_micropython(jobs, INTERPRETERS[on])
    for slot in slots:
        yield slot or _ordered(next(results))


def _on_micropython(jobs: list[dict], bits: int) -> Iterator[dict]:
    tree = firmware.build(
        firmware.BUILD / "mpy" / "tillctl", firmware.ROOT / "firmware", _RUNNER
    )
    try:
        interpreter = runtime.micropython(bits)
    except runtime.RuntimeMissing as e:
        raise TariffError(f"tariff: {e}") from None
    said = subprocess.run(
        [*interpreter, "-X", "heapsize=32m", "-c",
         "import tariff_runner; tariff_runner.main()"],
        input="".join(json.dumps(j) + "\n" for j in jobs),
        env={"MICROPYPATH": f"{tree}:.frozen"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if said.returncode:
        reason = (said.stderr or said.stdout).strip().splitlines()[-1:]
        raise TariffError(f"tariff: MicroPython stopped: {' '.join(reason)}")
    return (json.loads(line) for line in said.stdout.splitlines())


def _ordered(result: dict) -> dict:
    """The same, keys in one order: MicroPython's dicts keep none."""
    if "error" in result:
        return {"name": result["name"], "error": result["error"]}
    for period in result["periods"]:
        period["dimensions"] = [
            {k: d[k] for k in _LINE_KEYS if k in d} for d in period["dimensions"]
        ]  # fmt: skip
    ordered = {k: result[k] for k in _RESULT_KEYS}
    ordered["cost"] = {k: _money(result["cost"][k]) for k in _COST_KEYS}
    for key in ("total_cost", "billed"):
        ordered[key] = _money(ordered[key])
    ordered["periods"] = [
        {"start_ms": p["start_ms"], "dimensions": p["dimensions"]} for p in result["periods"]
    ]
    return ordered


def _money(pair: dict) -> dict:
    return {"excl": pair["excl"], "incl": pair["incl"]}


_RESULT_KEYS = ("name", "tariff", "total_cost", "cost", "billed", "periods", "flags")
_COST_KEYS = ("energy", "time", "parking", "fixed", "reservation")
_LINE_KEYS = (
    "type", "volume", "rest_nano", "price_micro", "vat_ppm", "vat_ppb", "excl_minor", "incl_minor",
)  # fmt: skip
