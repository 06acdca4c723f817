"""Recomputes a usage record's bill from the tariff that it names, with the charger's own code.

A record holds each period's start (in seconds) and priced volumes (exact), not the meter samples
between them. So: the rates in force at each period's start are looked up in the tariff, and the
recorded volumes at these rates go through core.bill: steps, VAT, clamps, rounding and shares."""

import itertools
from collections.abc import Iterator
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from evtill.core import bill, record_check
from evtill.core.pricing import CHARGING, EXPIRED, IDLE, RESERVED
from evtill.core.tariff import ENERGY, FLAT, PARKING, RES_FLAT, TIME, UNKNOWN, Moment, Tariff

NANO = 10**9
# core.pricing has 32 periods, then adds to an earlier one of the same prices; those of free idle
# time, at most every second one, do not stand in a record.
_MERGED_FROM = 15
_MS = 10**6  # nanoseconds
_POWER, _CURRENT, _CHARGED, _IDLE = 2, 3, 4, 5  # quantities that a record does not hold
_TRIES = 64
unix_s = lru_cache(maxsize=1000)(record_check.unix_s)  # a record has few times, asked for often


class Mismatch(Exception):
    """What the tariff says otherwise; the text is one line."""


def volume_nano(line: dict[str, Any]) -> int:
    """A line's volume in 1e-9 Wh, 1e-9 s or sessions."""
    rest: int = line.get("rest_nano", 0)
    if "volume_wh" in line:
        return int(line["volume_wh"]) * NANO + rest
    if "volume_ms" in line:
        return int(line["volume_ms"]) * _MS + rest
    return int(line["volume"])


def vat_nano(line: dict[str, Any]) -> int | None:
    """A line's VAT in 1e-9, None where it does not apply."""
    if line["vat_ppm"] is None:
        return None
    return int(line.get("vat_ppb", line["vat_ppm"] * 1000))


def reprice(
    record: dict[str, Any], tariff: Tariff, at_recorded_rates: bool = True
) -> dict[str, Any]:  # fmt: skip
    """The bill (as Pricer.bill()) of the record's volumes by `tariff`.

    Raises Mismatch when a rate in the record is not the tariff's at that moment, or a volume was
    rounded otherwise than the tariff's steps say. Unless `at_recorded_rates`, such a rate is
    replaced by the cheapest that the tariff may have had within that period; Mismatch then means
    that the record cannot be priced by this tariff at all."""
    if record["currency"] != tariff.currency:
        raise Mismatch(f"the tariff is in {tariff.currency}, the record in {record['currency']}")
    start_s = unix_s(record["start_date_time"])
    if not tariff.covers(start_s):
        raise Mismatch("the tariff is not valid at the session's start")
    pricer = SimpleNamespace(
        tariff=tariff, periods=[], fees=[-1, -1, -1, -1], final=[-1] * 6,
        start_ms=start_s * 1000, energy_wh=lambda: record["total_energy_wh"],
        end_s=unix_s(record["end_date_time"]),
        checks_spans=not _is_merged(record), ceiling_minor=record["auth"]["ceiling_minor"],
        at_recorded_rates=at_recorded_rates,
    )  # fmt: skip
    energy_n = 0
    for index, period in enumerate(record["charging_periods"]):
        energy_n += _add_period(pricer, index, period, energy_n)
    _take_steps_off(pricer, record, energy_n)
    found = bill.itemise(pricer)
    for period, original in zip(found["periods"], record["charging_periods"], strict=False):
        period["start_ms"] = unix_s(original["start_date_time"]) * 1000
    return found


def differences(record: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Where the recomputed bill `found` differs from the record, in words; none when it agrees."""
    wrong = []
    for key in ("excl_minor", "incl_minor", "exact_excl"):
        if record["total_cost"][key] != found[key]:
            wrong.append(f"{key} is {record['total_cost'][key]}, should be {found[key]}")
    recorded = [line for period in record["charging_periods"] for line in period["dimensions"]]
    computed = [line for period in found["periods"] for line in period["dimensions"]]
    if [line["type"] for line in recorded] != [line["type"] for line in computed]:
        return [*wrong, "the lines are not the ones that the tariff gives"]
    for one, other in zip(recorded, computed, strict=True):
        for key in ("excl_minor", "incl_minor", "price_micro", "vat_ppm"):
            if one[key] != other[key]:
                wrong.append(f"{one['type']} {key} is {one[key]}, should be {other[key]}")
        volume = {"ENERGY": "volume_wh"}.get(
            other["type"], "volume_ms" if other["type"].endswith("TIME") else "volume"
        )
        if volume_nano(one) != volume_nano(other | {volume: other["volume"]}):
            wrong.append(f"{one['type']} volume is not what the steps make of it")
    return wrong


def _is_merged(record: dict[str, Any]) -> bool:
    """Whether a period may hold volumes of a later one, as far as the record shows."""
    periods = record["charging_periods"]
    if len(periods) >= _MERGED_FROM:
        return True
    for period, after in itertools.pairwise(periods):
        span_s = unix_s(after["start_date_time"]) - unix_s(
            period["start_date_time"]
        )
        for line in period["dimensions"]:
            if "volume_ms" in line and line["volume_ms"] > (span_s + 1) * 1000:
                return True
    return False


def _add_period(
    pricer: SimpleNamespace, index: int, period: dict[str, Any], before_n: int
) -> int:
    """Adds a period with the tariff's rates to `pricer`; its energy in nWh."""
    lines = {line["type"]: line for line in period["dimensions"]}
    if len(lines) != len(period["dimensions"]):
        raise Mismatch(f"period {index + 1} has two lines of a kind")
    start_s = unix_s(period["start_date_time"])
    state = IDLE if "PARKING_TIME" in lines else CHARGING
    if "RESERVATION_TIME" in lines or "RESERVATION_FLAT" in lines:
        state = RESERVED
    finder = _Finder(pricer, start_s, before_n, state, index)
    energy_n = time_n = 0
    energy_rate = time_rate = -1
    for kind, line in lines.items():
        if kind == "ENERGY":
            energy_rate, energy_n = finder.rate(ENERGY, line), volume_nano(line)
        elif kind in ("TIME", "PARKING_TIME", "RESERVATION_TIME"):
            dimension = bill.TIME_DIMENSION[state]
            if bill.TYPES[dimension] != kind:
                raise Mismatch(f"period {index + 1} has both {kind} and another time")
            time_rate, time_n = finder.rate(dimension, line), volume_nano(line)
            pricer.final[dimension] = index
        elif kind in ("FLAT", "RESERVATION_FLAT"):
            fee = 0 if kind == "FLAT" else 2
            if pricer.fees[fee] >= 0:
                raise Mismatch(f"{kind} stands twice")
            pricer.fees[fee] = finder.rate(FLAT if kind == "FLAT" else RES_FLAT, line)
            pricer.fees[fee + 1] = index
    if energy_rate >= 0:
        pricer.final[ENERGY] = index
    if pricer.checks_spans:
        timed = bill.TIME_DIMENSION[state]
        step = pricer.tariff.rate(time_rate)[2] if time_rate >= 0 else 0  # may be on top
        span_s = min(time_n // NANO - max(0, step - 1), pricer.end_s - start_s)
        if span_s > 0:
            time_rate = finder.follow(timed, time_rate, span_s, 0)
        if energy_n:
            flowed_n = min(energy_n, pricer.energy_wh() * NANO - before_n)
            energy_rate = finder.follow(ENERGY, energy_rate, max(0, span_s), flowed_n)
    start_ms = start_s * 1000 - pricer.start_ms
    pricer.periods.append([start_ms, state, energy_rate, time_rate, energy_n, time_n])
    return energy_n


class _Finder:
    """Looks rates up at one period's start."""

    def __init__(
        self, pricer: SimpleNamespace, start_s: int, energy_n: int, state: int, index: int
    ) -> None:
        self._tariff: Tariff = pricer.tariff
        self._insists: bool = pricer.at_recorded_rates
        self._start_s = start_s
        self._state = state
        self._index = index
        self._matched: list[int] = [UNKNOWN, UNKNOWN, 0, 0]
        self._known = {0: energy_n // _MS, 1: max(0, start_s - pricer.start_ms // 1000)}

    def rate(self, dimension: int, line: dict[str, Any]) -> int:
        """The tariff's rate in force with the line's price and VAT, -1 for none and free.

        Quantities that no record holds (power, current, how long it charged or stood) are tried
        at each threshold that the tariff has for them. Where none gives the line's price: the
        cheapest of them, or Mismatch."""
        wanted = (line["price_micro"], vat_nano(line))
        seen: dict[int, list[int]] = {}  # rate: the quantities that give it
        tried: set[tuple[int, int, int, int]] = set()
        left = [(UNKNOWN, UNKNOWN, self._known[1], self._known[1])]
        while left and len(tried) < _TRIES:
            guess = left.pop(0)
            if guess in tried:
                continue
            tried.add(guess)
            for moment in self._moments(guess):
                at = self._tariff.find(dimension, moment)
                seen.setdefault(at, moment.low[2:])
                if self._price(at) == wanted:
                    self._matched = moment.low[2:]
                    return at
                left += _neighbours(guess, moment)
        if self._insists:
            raise Mismatch(
                f"period {self._index + 1}: {bill.TYPES[dimension]} costs "
                f"{_price_text(*self._price(next(iter(seen))))} by the tariff, "
                f"{_price_text(*wanted)} in the record"
            )
        cheapest = min(seen, key=self._gross)
        self._matched = seen[cheapest]
        return cheapest

    def follow(self, dimension: int, rate: int, span_s: int, energy_n: int) -> int:
        """Follows the tariff through the period, for `span_s` and `energy_n`: the cheapest rate of
        it, or Mismatch where the price changes although the period goes on."""
        moment = Moment()
        moment.expired = self._state == EXPIRED
        cheapest = rate
        for at_s, at_mwh in self._edges(dimension, moment, span_s, energy_n):
            moment.low = moment.high = [at_mwh, self._known[1] + at_s, *self._matched]
            self._tariff.place(moment, self._start_s + at_s)
            at = self._tariff.find(dimension, moment)
            if self._price(at) == self._price(rate):
                continue
            if self._insists:
                raise Mismatch(
                    f"period {self._index + 1}: {bill.TYPES[dimension]} changes to "
                    f"{_price_text(*self._price(at))} by the tariff before the period ends"
                )
            cheapest = min(cheapest, at, key=self._gross)
        return cheapest

    def _price(self, at: int) -> tuple[int, int | None]:
        """(price, VAT) of a rate that find() returned; -1 is free."""
        return (0, None) if at < 0 else self._tariff.rate(at)[:2]

    def _gross(self, at: int) -> int:
        price, vat = self._price(at)
        return price * (bill.VAT_ONE + (vat or 0))

    def _edges(
        self, dimension: int, moment: Moment, span_s: int, energy_n: int
    ) -> Iterator[tuple[int, int]]:
        """Seconds and mWh at which the price may change within the period: by time alone, then by
        energy alone, as what came first between two readings is not recorded."""
        for seconds, limit_mwh in ((span_s, 0), (0, self._known[0] + energy_n // _MS)):
            at_s, at_mwh = 0, self._known[0]
            for _ in range(_TRIES):
                moment.low = moment.high = [at_mwh, self._known[1] + at_s, *self._matched]
                self._tariff.place(moment, self._start_s + at_s)
                self._tariff.find(dimension, moment)
                if seconds:
                    at_s += min(moment.wait_s, max(1, moment.up[1] - self._known[1] - at_s))
                else:
                    at_mwh = max(at_mwh + 1, moment.up[0])
                if at_s + 1 >= seconds and at_mwh >= limit_mwh:
                    break
                yield at_s, at_mwh

    def _moments(self, guess: tuple[int, int, int, int]) -> Iterator[Moment]:
        """What the period's start may have been: a record says its second only."""
        for state in (RESERVED, EXPIRED) if self._state == RESERVED else (self._state,):
            for seconds in (self._known[1], max(0, self._known[1] - 1)):
                moment = Moment()
                moment.expired = state == EXPIRED
                moment.low = moment.high = [self._known[0], seconds, *guess]
                self._tariff.place(moment, self._start_s)
                yield moment


def _neighbours(
    guess: tuple[int, int, int, int], moment: Moment
) -> list[tuple[int, int, int, int]]:
    """Guesses just across the nearest thresholds of the quantities that nobody recorded."""
    power, current, charged, idle = guess
    found = [(power, current, 0, 0)]
    for quantity in (_POWER, _CURRENT, _CHARGED, _IDLE):
        for value in (moment.up[quantity], moment.down[quantity] - 1):
            if not 0 <= value < 1 << 60:
                continue
            found.append(
                (
                    value if quantity == _POWER else power,
                    value if quantity == _CURRENT else current,
                    value if quantity == _CHARGED else charged,
                    value if quantity == _IDLE else idle,
                )
            )
    return found


def _take_steps_off(pricer: SimpleNamespace, record: dict[str, Any], energy_n: int) -> None:
    """Takes off the recorded volumes what a step size put on, for core.bill to put it on again."""
    extra = energy_n - record["total_energy_wh"] * NANO
    if extra < 0:
        raise Mismatch("the ENERGY lines are less than total_energy_wh")
    if extra:
        last = [at for at, p in enumerate(pricer.periods) if p[2] >= 0 and p[4] >= extra]
        if not last:
            raise Mismatch("the ENERGY lines are more than total_energy_wh")
        pricer.final[ENERGY] = last[-1]  # not the last with energy when periods were merged
        pricer.periods[last[-1]][4] -= extra
    for dimension, key in ((TIME, "total_time_ms"), (PARKING, "total_parking_time_ms")):
        last = pricer.final[dimension]
        if last < 0:
            continue
        state = bill.TIME_DIMENSION.index(dimension)
        priced = sum(p[5] for p in pricer.periods if p[1] == state and p[3] >= 0)
        step = pricer.tariff.rate(pricer.periods[last][3])[2] * NANO
        if priced > (record[key] + 1) * _MS + (step - 1 if step else 0):
            raise Mismatch(f"the {bill.TYPES[dimension]} lines are more than {key}")


def _price_text(price: int, vat: int | None) -> str:
    tax = "no VAT" if vat is None else f"VAT {bill.decimal(vat, 10**7)} %"
    return f"{bill.decimal(price, 10**6)} ({tax})"
