"""Judges what came of a scenario by what its own [expect] table says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tillsim.car import START_REGISTER_WH
from tillsim.play import Play


@dataclass
class Finding:
    """One expectation: whether it was met, and what there was."""

    met: bool
    what: str

    def __str__(self) -> str:
        return ("ok   " if self.met else "FAIL ") + self.what


class Judge:
    """`findings()` of a Play that has run. The tests know each expectation by its key."""

    def __init__(self, play: Play) -> None:
        self._expect = play.scenario.expect
        self._records = [record["payload"] for record in play.records()]
        self._events = [event["name"] for event in play.events()]
        self._results = [f"{row.status}: {row.detail}" for row in play.charger.store.results()]
        self._screens = [
            " | ".join(line.strip() for line in row["lines"]) for row in play.charger.display
        ]
        truth = play.charger.truth()
        self._unsafe: list[str] = truth.get("unsafe", [])
        moved = any("shift_wh" in step.args for step in play.scenario.steps)
        self._flowed_wh = None if moved else truth["register_wh"] - START_REGISTER_WH

    def findings(self) -> list[Finding]:
        """A finding for each expectation; and always, that nobody is billed what never flowed,
        and that nothing unsafe was done."""
        found = []
        billed_wh = sum(record["total_energy_wh"] for record in self._records)
        if self._flowed_wh is not None:
            found.append(Finding(billed_wh <= self._flowed_wh,
                                 f"billed {billed_wh} Wh of {self._flowed_wh} Wh that flowed"))
        for what in self._unsafe:
            found.append(Finding(False, what))
        for key, wanted in self._expect.items():
            found += _RULES[key](self, key, wanted)
        return found

    def _is(self, key: str, wanted: Any, have: Any) -> Iterator[Finding]:
        tail = "" if have == wanted else f", not {wanted!r}"
        yield Finding(have == wanted, f"{key}: {have!r}{tail}")

    def _sessions(self, key: str, wanted: int) -> Iterator[Finding]:
        yield from self._is(key, wanted, len(self._records))

    def _stop_reason(self, key: str, wanted: str | list[str]) -> Iterator[Finding]:
        reasons = [record["stop_reason"] for record in self._records]
        yield from self._is(key, [wanted] if isinstance(wanted, str) else wanted, reasons)

    def _energy_wh(self, key: str, wanted: list[int]) -> Iterator[Finding]:
        have = [record["total_energy_wh"] for record in self._records]
        yield from self._is(key, wanted, have)

    def _time_s(self, key: str, wanted: list[int]) -> Iterator[Finding]:
        have = [record["clock"]["duration_ms"] // 1000 for record in self._records]
        yield from self._is(key, wanted, have)

    def _cost_minor(self, key: str, wanted: list[int]) -> Iterator[Finding]:
        have = [record["total_cost"]["incl_minor"] for record in self._records]
        yield from self._is(key, wanted, have)

    def _flags(self, key: str, wanted: list[str]) -> Iterator[Finding]:
        have = {flag for record in self._records for flag in record["flags"]}
        for name in wanted:
            yield Finding(name in have, f"{key}: {name} in some record")

    def _some(self, key: str, wanted: list[str]) -> Iterator[Finding]:
        for name in wanted:
            yield Finding(name in self._events, f"{key}: {name}")

    def _none(self, key: str, wanted: list[str]) -> Iterator[Finding]:
        for name in wanted:
            yield Finding(name not in self._events, f"{key}: {name}")

    def _done(self, key: str, wanted: list[str]) -> Iterator[Finding]:
        met = len(wanted) == len(self._results) and all(
            have.startswith(want) for want, have in zip(wanted, self._results, strict=True)
        )
        yield Finding(met, f"{key}: {self._results!r}" + ("" if met else f", not {wanted!r}"))

    def _shown(self, key: str, wanted: list[str]) -> Iterator[Finding]:
        """In this order: each text on a screen that comes no earlier than the one before's."""
        at = 0
        for text in wanted:
            there = [i for i in range(at, len(self._screens)) if text in self._screens[i]]
            after = " is not shown after the one before" if at else " is not shown"
            yield Finding(bool(there), f"{key}: {text!r}" + ("" if there else after))
            at = there[0] if there else at

    def _not_shown(self, key: str, wanted: list[str]) -> Iterator[Finding]:
        for text in wanted:
            yield Finding(not any(text in screen for screen in self._screens), f"{key}: {text!r}")


_RULES: dict[str, Callable[..., Iterator[Finding]]] = {
    "sessions": Judge._sessions,
    "stop_reason": Judge._stop_reason,
    "energy_wh": Judge._energy_wh,
    "time_s": Judge._time_s,
    "cost_minor": Judge._cost_minor,
    "flags": Judge._flags,
    "events": Judge._some,
    "no_events": Judge._none,
    "results": Judge._done,
    "shown": Judge._shown,
    "not_shown": Judge._not_shown,
}
