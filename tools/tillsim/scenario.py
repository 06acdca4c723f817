"""Scenario files: what happens to a virtual charger, and when. `tillsim run --help` shows one."""

import json
import tomllib
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from evtill.core import record
from evtill.core.tokens import TokenListError
from tillctl.token_list import Token, read_source
from tillsim.board import FLASH_STATES, HOWS, PANELS
from tillsim.circuit import OHMS, VOLTS

# Commands that no charger may obey.
SPOILT = ("wrong_key", "wrong_nonce", "expired", "other_charger", "replayed")
CARDS = ("uid", "ntag424", "desfire", "phone")
CARD_KEYS = ("right", "wrong", "none")  # under the charger's card_key or another; no application
READER_STATES = ("reset", "hang", "unplug", "ok")
METER_FAULTS = ("silent", "wrong_crc", "exception", "foreign_reply", "none")
# A check gives the value to use, None for a wrong one; the text says what it must be.
Check = tuple[Callable[[Any], Any], str]
DEMO_TARIFF = Path(__file__).parent / "demo" / "tariff.json"


class ScenarioError(Exception):
    """What is wrong with a scenario, in one line that names the key."""


@dataclass
class Step:
    """`do` at `at_ms` since first boot, with the step's own keys in `args`."""

    at_ms: int
    do: str
    args: dict[str, Any]


@dataclass
class Scenario:
    """Times in ms; `start_ms` is Unix time at first boot, None for a clock that is unset. tls:
    between the charger and its broker, with a certificate on both sides. display: of PANELS;
    language: as for `tillctl provision`."""

    start_ms: int | None
    timezone: str
    tariff: dict[str, Any]
    tokens: list[str] | dict[bytes, Token]
    config: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    tls: bool = False
    expect: dict[str, Any] = field(default_factory=dict)  # keys of EXPECT
    display: str = "text"
    language: str = "en"


def _number(value: Any, low: float, high: float) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and low <= value <= high else None


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> Any:
        return _number(value, low, high) if isinstance(value, int) else None

    return check, f"a whole number from {low} to {high}"


def _true(value: Any) -> bool | None:
    return True if value is True else None


def _kw(value: Any) -> Any:
    return _number(value, 0, 1000)


def _seconds(value: Any) -> Any:
    return _number(value, -(10**9), 10**9)


def _uid(value: Any) -> Any:
    try:
        return value.upper() if len(bytes.fromhex(value)) in (4, 7, 10) else None
    except (ValueError, TypeError, AttributeError):
        return None


def _unix_ms(value: Any) -> int | None:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return None
    return int(moment.timestamp() * 1000) if moment.tzinfo else None


def _one_of(*choices: str) -> Check:
    words = ", ".join(f'"{choice}"' for choice in choices[:-1]) + f' or "{choices[-1]}"'
    return lambda value: value if value in choices else None, words


@dataclass
class Keys:
    """The keys of a step beside `at` and `do`, each with (check, what it must be).

    must: have to be there. one_of: exactly one of them has to. may: may be there; needs: those of
    them that mean something only beside another one, with that one."""

    must: dict[str, Check] = field(default_factory=dict)
    one_of: dict[str, Check] = field(default_factory=dict)
    may: dict[str, Check] = field(default_factory=dict)
    needs: dict[str, str] = field(default_factory=dict)

    def known(self) -> dict[str, Check]:
        return self.must | self.one_of | self.may


def _cable(value: Any) -> int | None:
    return value if type(value) is int and value in OHMS else None


def _arguments(value: Any) -> dict | None:
    return value if isinstance(value, dict) else None


_KW = (_kw, "a power from 0 to 1000 kW")
_UID = (_uid, "4, 7 or 10 bytes in hex")
_STATE = _one_of("stop", "start")
_TIME = (_unix_ms, 'a time with its zone, such as "2026-03-02T07:14:00Z"')

STEPS: dict[str, Keys] = {
    "tap": Keys(
        {"uid": _UID},
        may={
            "card": _one_of(*CARDS),
            "key": _one_of(*CARD_KEYS),
            "hidden": (_true, "true"),
            "held_ms": _whole(1, 600_000),
        },
        needs={"key": "card", "hidden": "card"},
    ),
    "reader": Keys({"state": _one_of(*READER_STATES)}),
    "plug": Keys({"kw": _KW}, may={"cable_a": (_cable, "13, 20, 32 or 63, or 0 for a short")}),
    "pilot": Keys(
        {"state": _one_of(*VOLTS)},
        may={"bounce_ms": _whole(1, 10_000), "noise_mv": _whole(1, 5000)},
    ),
    "button": Keys(
        {"which": _one_of("stop", "emergency")},
        may={"state": _one_of("pressed", "released")},
    ),
    "fault": Keys({"what": _one_of("rcd", "weld", "lock")}, may={"state": _one_of("set", "clear")}),
    "temperature": Keys({"celsius": (lambda v: _number(v, -50, 200), "from -50 to 200")}),
    "unplug": Keys(),
    "power": Keys({"kw": _KW}),
    "kill": Keys(
        may={
            "at_write": _whole(1, 10**6),
            "how": _one_of(*HOWS),
            "warned_ms": _whole(1, 10_000),
        },
        needs={"how": "at_write"},
    ),
    "boot": Keys(),
    "broker": Keys({"state": _STATE}),
    "backend": Keys({"state": _STATE}),
    "proxy": Keys(
        one_of={
            "delay_ms": _whole(0, 600_000),
            "cut_after": _whole(0, 10**9),
            "cut_down_after": _whole(0, 10**9),
            "half_open": (_true, "true"),
            "acks": _one_of("drop", "duplicate", "reorder"),
            "ack_delay_ms": _whole(0, 600_000),
            "clear": (_true, "true"),
        }
    ),
    "flash": Keys({"state": _one_of(*FLASH_STATES)}),
    "meter": Keys(
        one_of={
            "fault": _one_of(*METER_FAULTS),
            "serial": _whole(0, 2**32 - 1),
            "shift_wh": _whole(-(10**12), 10**12),
            "frozen": (lambda value: value if isinstance(value, bool) else None, "true or false"),
            "told": (lambda value: _number(value, 0, 10), "a part of the power, from 0 to 10"),
        }
    ),
    "clock": Keys(one_of={"set": _TIME, "step": (_seconds, "a number of seconds")}),
    "display": Keys({"state": _one_of("unplug", "ok")}),
    "picture": Keys(
        {"name": (lambda v: v if isinstance(v, str) and v.isidentifier() else None, "a word")}
    ),
    "command": Keys(
        {"name": (lambda v: v if isinstance(v, str) else None, "a command's name")},
        may={
            "args": (_arguments, "a table of arguments"),
            "sign": _one_of("well", *SPOILT),
        },
    ),
    "end": Keys(),
}


def _texts(value: Any) -> list[str] | None:
    good = isinstance(value, list) and all(isinstance(text, str) for text in value)
    return value if good else None


def _names(known: str) -> Callable[[Any], list[str] | None]:
    """A check for a list of the `known` names."""
    return lambda value: value if _texts(value) and set(value) <= set(known.split()) else None


def _reasons(value: Any) -> Any:
    wanted = [value] if isinstance(value, str) else value
    return value if _names(record.STOP_REASONS)(wanted) else None


def _amounts(value: Any) -> list[int] | None:
    good = isinstance(value, list) and all(type(amount) is int for amount in value)
    return value if good else None


_SCREENS = "a list of texts; a screen's lines are joined by ' | '"
# What may be expected of a scenario; tillsim.expect judges it.
EXPECT: dict[str, Check] = {
    "sessions": _whole(0, 1000),
    "stop_reason": (_reasons, "a stop reason, or a list of them: one for each record"),
    "energy_wh": (_amounts, "a list of Wh, one for each record"),
    "time_s": (_amounts, "a list of whole seconds from start to end, one for each record"),
    "cost_minor": (_amounts, "a list of minor units incl. VAT, one for each record"),
    "flags": (_names(record.FLAGS), "a list of flags that some record has"),
    "events": (_names(record.EVENTS), "a list of events that are reported"),
    "no_events": (_names(record.EVENTS), "a list of events that are not"),
    "results": (_texts, "a list of how the results of all commands begin, such as \"accepted\""),
    "shown": (_texts, f"{_SCREENS}, shown in this order"),
    "not_shown": (_texts, f"{_SCREENS}, never shown"),
}
_TOP = ("start", "timezone", "tariff", "tokens", "config", "tls", "step", "expect", "display",
        "language")


def load(path: Path) -> Scenario:
    """The scenario in a TOML file. Raises ScenarioError."""
    try:
        given = tomllib.loads(path.read_text())
    except OSError as e:
        raise ScenarioError(f"{path}: {e.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ScenarioError(f"{path}: not TOML: {e}") from None
    for key in given:
        if key not in _TOP:
            raise ScenarioError(f"unknown key {key!r}; known: {', '.join(_TOP)}")
    timezone = given.get("timezone", "Europe/Amsterdam")
    if timezone not in zoneinfo.available_timezones():
        raise ScenarioError(f"timezone: {timezone!r} is no IANA time zone")
    start_ms = None
    if "start" in given and (start_ms := _unix_ms(given["start"])) is None:
        raise ScenarioError(f"start: it must be {_TIME[1]}")
    tokens = _tokens(path, given.get("tokens", []))
    config = given.get("config", {})
    if not isinstance(config, dict):
        raise ScenarioError("config: it must be a table of configuration keys")
    steps = given.get("step", [])
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ScenarioError("step: it must be a list of [[step]] tables")
    tls = given.get("tls", False)
    if not isinstance(tls, bool):
        raise ScenarioError("tls: it must be true or false")
    display = given.get("display", "text")
    if display not in PANELS:
        raise ScenarioError(f"display: it must be one of {', '.join(PANELS)}")
    language = given.get("language", "en")
    if not isinstance(language, str):
        raise ScenarioError("language: it must be a name or a file, as for tillctl provision")
    if tls and any("acks" in step or "ack_delay_ms" in step for step in steps):
        raise ScenarioError("acks: nobody on the way can tell them apart with tls = true")
    for number, step in enumerate(steps, 1):
        _check_circuit(number, step, config.get("plug", "contact"))
    return Scenario(start_ms, timezone, _tariff(path, given), tokens, config,
                    [_step(i, step) for i, step in enumerate(steps, 1)], tls,
                    _expect(given.get("expect", {})), display, language)  # fmt: skip


def _check_circuit(number: int, step: dict, plug: Any) -> None:
    """Refuses what needs a circuit that the charger has not."""
    do, key = step.get("do"), ""
    needed: tuple[str, ...] = ("socket", "tethered")
    if do == "kill":
        key = "warned_ms" if "warned_ms" in step else ""
    elif do == "fault" and step.get("what") in ("rcd", "lock"):
        key = f"what = {step['what']!r}"
        needed = ("socket",) if step["what"] == "lock" else needed
    elif do == "plug" and "cable_a" in step:
        key, needed = "cable_a", ("socket",)
    elif do in ("pilot", "button", "temperature"):
        key = str(do)
    if key and plug not in needed:
        words = " or ".join(f'"{one}"' for one in needed)
        raise ScenarioError(f"step {number}: {key}: it needs plug = {words} in [config]")


def _expect(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ScenarioError("expect: it must be a table")
    for key, value in given.items():
        if key not in EXPECT:
            raise ScenarioError(f"expect: unknown key {key!r}; known: {', '.join(EXPECT)}")
        check, words = EXPECT[key]
        if check(value) is None:
            raise ScenarioError(f"expect: {key}: it must be {words}")
    return given


def _tokens(path: Path, given: Any) -> list[str] | dict[bytes, Token]:
    if isinstance(given, str):
        try:
            return read_source(path.parent / given).cards
        except (TokenListError, OSError) as e:
            raise ScenarioError(f"tokens: {e}") from None
    if not isinstance(given, list) or not all(_uid(uid) for uid in given):
        raise ScenarioError("tokens: it must be a list of UIDs, 4, 7 or 10 bytes in hex each, or "
                            "a file as `tillctl tokens build` takes it")  # fmt: skip
    return given


def _tariff(path: Path, given: dict) -> Any:
    name = given.get("tariff")
    if name is not None and not isinstance(name, str):
        raise ScenarioError("tariff: it must name a file beside the scenario")
    file = DEMO_TARIFF if name is None else path.parent / name
    try:
        return json.loads(file.read_text())
    except OSError as e:
        raise ScenarioError(f"tariff: {file}: {e.strerror}") from None
    except ValueError as e:
        raise ScenarioError(f"tariff: {file} is not JSON: {e}") from None


def _step(number: int, given: dict) -> Step:
    where = f"step {number}"
    do = given.get("do")
    if do not in STEPS:
        raise ScenarioError(f"{where}: do: {do!r} is none of {', '.join(STEPS)}")
    at = _number(given.get("at"), 0, 10**7)
    if at is None:
        raise ScenarioError(f"{where}: at: it must be seconds since first boot")
    keys = STEPS[do]
    known = keys.known()
    args = {}
    for key, value in given.items():
        if key in ("at", "do"):
            continue
        if key not in known:
            raise ScenarioError(
                f"{where}: unknown key {key!r} for {do}; known: {', '.join(known) or 'none'}"
            )
        check, words = known[key]
        args[key] = check(value)
        if args[key] is None:
            raise ScenarioError(f"{where}: {key}: it must be {words}")
    for key, (_, words) in keys.must.items():
        if key not in args:
            raise ScenarioError(f"{where}: {key} is missing for {do}: it must be {words}")
    if keys.one_of and sum(key in args for key in keys.one_of) != 1:
        raise ScenarioError(f"{where}: {do} takes one of {', '.join(keys.one_of)}")
    for key, other in keys.needs.items():
        if key in args and other not in args:
            raise ScenarioError(f"{where}: {key}: it goes with {other}")
    return Step(int(at * 1000), do, args)
