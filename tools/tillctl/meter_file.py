"""A meter's file in meters/: read, checked line by line, and found by name.

What may stand in such a file is described in meters/README.md."""

import re
import tomllib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from evtill.core.errors import MeterError
from tillctl.firmware import ROOT

CATALOGUE = ROOT / "meters"
BAUDS = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
PARITIES = ("none", "even", "odd")

# The numbers that stand in a board's table (evtill/drivers/py).
ENERGY, POWER, VOLTAGE, CURRENT = 0, 1, 2, 5  # what a value is; three phases of the latter two
U16, S16, U32, S32, U64, S64, FLOAT32, FLOAT64, T5, T6 = range(10)
SIZES = (1, 1, 2, 2, 4, 4, 2, 4, 2, 2)  # registers of each kind
LOW_FIRST = 16
TEXT, TEXT_LOW, NUMBER, HEX = range(4)

KINDS = {"u16": U16, "s16": S16, "u32": U32, "s32": S32, "u64": U64, "s64": S64,
         "float32": FLOAT32, "float64": FLOAT64, "t5": T5, "t6": T6}  # fmt: skip
WORDS = {"high first": 0, "low first": LOW_FIRST}
FORMS = {"text": TEXT, "text in low bytes": TEXT_LOW, "number": NUMBER, "hex": HEX}
# section: {unit: how many of a Reading's units it is}
UNITS: dict[str, dict[str, Fraction]] = {
    "energy": {"Wh": Fraction(1), "kWh": Fraction(1000), "MWh": Fraction(1000000)},
    "power": {"W": Fraction(1), "kW": Fraction(1000)},
    "voltage": {"V": Fraction(1000), "mV": Fraction(1)},
    "current": {"A": Fraction(1000), "mA": Fraction(1)},
}
_VALUE = {"unit", "type", "words", "scale"}
# section: (keys that must stand there, keys that may)
KEYS: dict[str, tuple[set[str], set[str]]] = {
    "": ({"vendor", "model", "sources"}, {"aliases", "unconfirmed", "signs"}),
    "line": ({"baud", "parity", "address"}, {"stop_bits"}),
    "read": ({"function", "type"}, {"words", "max_registers", "max_gap"}),
    "energy": ({"register", "unit"}, _VALUE | {"exponent_register", "rollover_kwh"}),
    "power": ({"register", "unit"}, _VALUE),
    "voltage": ({"registers", "unit"}, _VALUE),
    "current": ({"registers", "unit"}, _VALUE),
    "serial": ({"register", "form"}, {"function", "count"}),
    "identity": ({"register", "values"}, {"function"}),
    "pulse": ({"per_kwh"}, {"least_ms"}),
}
_MUST = ("line", "read", "energy", "power")


@dataclass(frozen=True)
class Value:
    """One value: `what` as above, where it is, and times / through to a Reading's."""

    what: int
    register: int
    kind: int
    times: int
    through: int
    exponent_register: int | None = None

    @property
    def size(self) -> int:
        return SIZES[self.kind & 15]


@dataclass(frozen=True)
class Described:
    """What every meter's file says, whole and sound."""

    name: str
    vendor: str
    model: str
    aliases: tuple[str, ...]
    sources: tuple[str, ...]
    unconfirmed: str

    @property
    def names(self) -> set[str]:
        """Everything that it may be called by."""
        short = {self.name, *self.aliases}
        vendors = {_plain(self.vendor), _plain(self.vendor.split()[0])}
        return short | {v + n for n in short for v in vendors} | {_plain(self.model)}


@dataclass(frozen=True)
class PulseFile(Described):
    """A meter that tells its energy by pulses; least_ms: a shorter one is none."""

    per_kwh: int
    least_ms: int


@dataclass(frozen=True)
class MeterFile(Described):
    """A meter with registers, on a bus."""

    baud: int
    parity: str
    stop_bits: int
    address: int
    function: int
    max_registers: int
    max_gap: int
    values: tuple[Value, ...]
    modulus_wh: int
    serial: tuple[int, int, int, int] | None  # function, count, start, form
    identity: tuple[int, int, int, tuple[bytes, ...]] | None  # function, count, start, options
    signs: bool  # what it has measured, as evtill/drivers/iskra.py reads it


def section_of(what: int) -> str:
    """The section of a file in which the value `what` stands."""
    return [*UNITS][min(what, 2 + (what >= CURRENT))]


def _plain(text: str) -> str:
    return re.sub("[^a-z0-9]", "", text.lower())


class _Reader:
    """Takes what it is asked for out of a file; what is wrong is told with its line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.text = path.read_text("utf-8")
            self.tables = tomllib.loads(self.text)
        except OSError as e:
            raise MeterError(f"{path}: {e.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise MeterError(f"{path}: {e}") from None

    def wrong(self, section: str, key: str, why: str) -> MeterError:
        line = self._line(section, key)
        where = f"[{section}] {key}".strip() if section else key
        return MeterError(f"{self.path}:{line}: {where}: {why}")

    def _line(self, section: str, key: str) -> int:
        found, here = 1, ""
        for number, line in enumerate(self.text.splitlines(), 1):
            if match := re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line):
                here = match[1].strip()
                if here == section:
                    found = number
            elif here == section and key and re.match(rf'\s*"?{re.escape(key)}"?\s*=', line):
                return number
        return found

    def check_keys(self) -> None:
        for section, table in self.tables.items():
            if isinstance(table, dict) and section not in KEYS:
                raise self.wrong(section, "", f"unknown; known: {', '.join(list(KEYS)[1:])}")
            if isinstance(table, dict) and section != "pulse" and "pulse" in self.tables:
                raise self.wrong(section, "", "a meter that is read by [pulse] has no registers")
        for section, (must, may) in KEYS.items():
            table = self.table(section)
            if table is None:
                if section in _MUST and "pulse" not in self.tables:
                    raise self.wrong("", f"[{section}]", "missing")
                continue
            for key in table:
                if key not in must | may:
                    known = ", ".join(sorted(must | may))
                    raise self.wrong(section, key, f"unknown; known: {known}")
            for key in sorted(must - set(table)):
                raise self.wrong(section, key, "missing")

    def table(self, section: str) -> dict[str, Any] | None:
        if not section:
            return {k: v for k, v in self.tables.items() if not isinstance(v, dict)}
        table = self.tables.get(section)
        if table is not None and not isinstance(table, dict):
            raise self.wrong("", section, f"must be a section, [{section}]")
        return table

    def get(self, section: str, key: str, default: Any = None) -> Any:
        return (self.table(section) or {}).get(key, default)

    def text_of(self, section: str, key: str, default: str | None = None) -> str:
        value = self.get(section, key, default)
        if not isinstance(value, str) or not value.isascii() or "\n" in value.strip("\n"):
            raise self.wrong(section, key, "must be a line of ASCII text")
        return value

    def texts(self, section: str, key: str) -> tuple[str, ...]:
        value = self.get(section, key, [])
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            raise self.wrong(section, key, "must be a list of texts")
        return tuple(value)

    def whole(self, section: str, key: str, low: int, high: int, default: Any = None) -> int:
        value = self.get(section, key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(section, key, f"must be a whole number from {low} to {high}")
        return value

    def one_of(self, section: str, key: str, choices: Any, default: Any = None) -> Any:
        value = self.get(section, key, default)
        if value not in choices or isinstance(value, bool):
            known = ", ".join(str(c) for c in choices)
            raise self.wrong(section, key, f"{value!r} is none of {known}")
        return choices[value] if isinstance(choices, dict) else value


def read(path: Path) -> MeterFile:
    """The file at `path` of a meter on a bus. Raises MeterError: one line that names line and key.
    """
    return _on_bus(read_any(path))


def _on_bus(meter: MeterFile | PulseFile) -> MeterFile:
    if isinstance(meter, PulseFile):
        raise MeterError(f"{meter.name} is a pulse meter: it has no registers to read")
    return meter


def read_any(path: Path) -> MeterFile | PulseFile:
    """The meter's file at `path`. Raises MeterError: one line that names line and key."""
    r = _Reader(path)
    r.check_keys()
    if not re.fullmatch("[a-z0-9]{1,16}", path.stem):
        raise MeterError(f"{path}: the name must be 1 to 16 lower-case letters and digits")
    sources = r.texts("", "sources")
    unconfirmed = r.get("", "unconfirmed", "")
    if not isinstance(unconfirmed, str):
        raise r.wrong("", "unconfirmed", "must be text")
    if not sources and not unconfirmed:
        raise r.wrong("", "sources", "empty: name one, or say in `unconfirmed` that there is none")
    if len(sources) < 2 and not unconfirmed:
        raise r.wrong("", "sources", "one alone: say in `unconfirmed` what a second would confirm")
    about: dict[str, Any] = {
        "name": path.stem,
        "vendor": r.text_of("", "vendor"),
        "model": r.text_of("", "model"),
        "aliases": r.texts("", "aliases"),
        "sources": sources,
        "unconfirmed": unconfirmed.strip(),
    }
    if r.table("pulse") is not None:
        return PulseFile(
            **about,
            per_kwh=r.whole("pulse", "per_kwh", 1, 100000),
            least_ms=r.whole("pulse", "least_ms", 1, 1000, 20),
        )
    max_registers = r.whole("read", "max_registers", 1, 125, 125)
    values = _values(r)
    for v in values:
        if v.size > max_registers:
            raise r.wrong("read", "max_registers", f"a value takes {v.size} registers")
    rollover = r.get("energy", "rollover_kwh", 0)
    if isinstance(rollover, bool) or not isinstance(rollover, int | float) or rollover < 0:
        raise r.wrong("energy", "rollover_kwh", "must be a number of kWh")
    modulus_wh = Fraction(str(rollover)) * 1000
    if modulus_wh.denominator != 1 or modulus_wh >= 1 << 63:
        raise r.wrong("energy", "rollover_kwh", "must be a whole number of Wh")
    return MeterFile(
        **about,
        baud=r.one_of("line", "baud", BAUDS),
        parity=r.one_of("line", "parity", PARITIES),
        stop_bits=r.whole("line", "stop_bits", 1, 2, 1),
        address=r.whole("line", "address", 1, 247),
        function=r.one_of("read", "function", (3, 4)),
        max_registers=max_registers,
        max_gap=r.whole("read", "max_gap", 0, 123, 0),
        values=values,
        modulus_wh=int(modulus_wh),
        serial=_serial(r),
        identity=_identity(r),
        signs=r.one_of("", "signs", {"": False, "ocmf": True}, ""),
    )


def _values(r: _Reader) -> tuple[Value, ...]:
    values = [_value(r, "energy", ENERGY, r.get("energy", "register"), "register"),
              _value(r, "power", POWER, r.get("power", "register"), "register")]  # fmt: skip
    for section, first in (("voltage", VOLTAGE), ("current", CURRENT)):
        if r.table(section) is None:
            continue
        registers = r.get(section, "registers")
        if not isinstance(registers, list) or not 1 <= len(registers) <= 3:
            raise r.wrong(section, "registers", "must be a list of one to three, a phase each")
        values += [
            _value(r, section, first + i, register, "registers")
            for i, register in enumerate(registers)
        ]
    taken: dict[int, str] = {}
    for v in values:
        names = section_of(v.what)
        for register in range(v.register, v.register + v.size):
            if taken.setdefault(register, f"{names} {v.what}") != f"{names} {v.what}":
                raise r.wrong(names, "", f"register {register:#06x} belongs to two values")
    return tuple(values)


def _value(r: _Reader, section: str, what: int, register: Any, key: str) -> Value:
    kind = r.one_of(section, "type", KINDS, r.get("read", "type"))
    words = r.one_of(section, "words", WORDS, r.get("read", "words", "high first"))
    size = SIZES[kind]
    if not isinstance(register, int) or not 0 <= register <= 0x10000 - size:
        raise r.wrong(section, key, f"must be from 0 to {0x10000 - size:#06x}")
    scale = r.get(section, "scale", 1)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or scale <= 0:
        raise r.wrong(section, "scale", "must be a number above 0")
    unit = Fraction(str(scale)) * r.one_of(section, "unit", UNITS[section])
    if max(unit.numerator, unit.denominator) >= 1 << 24:
        raise r.wrong(section, "scale", f"{scale} is beyond what the board computes with")
    exponent = r.get(section, "exponent_register")
    if exponent is not None:
        exponent = r.whole(section, "exponent_register", 0, 0xFFFF)
    return Value(what, register, kind | words, unit.numerator, unit.denominator, exponent)


def _serial(r: _Reader) -> tuple[int, int, int, int] | None:
    if r.table("serial") is None:
        return None
    form = r.one_of("serial", "form", FORMS)
    count = r.whole("serial", "count", 1, 16, 2)
    start = r.whole("serial", "register", 0, 0x10000 - count)
    return _function(r, "serial"), count, start, form


def _identity(r: _Reader) -> tuple[int, int, int, tuple[bytes, ...]] | None:
    if r.table("identity") is None:
        return None
    options = []
    values = r.get("identity", "values")
    for value in values if isinstance(values, list) else [None]:
        if isinstance(value, str) and value.isascii() and value and len(value) % 2 == 0:
            options.append(value.encode())
        elif isinstance(value, int) and 0 <= value <= 0xFFFF:
            options.append(value.to_bytes(2, "big"))
        else:
            why = "must be a list of numbers up to 0xFFFF, or of texts of even length"
            raise r.wrong("identity", "values", why)
    if not 1 <= len(options) <= 32 or len({len(o) for o in options}) > 1 or len(options[0]) > 32:
        raise r.wrong("identity", "values", "must be 1 to 32 values, all of one length")
    count = len(options[0]) // 2
    start = r.whole("identity", "register", 0, 0x10000 - count)
    return _function(r, "identity"), count, start, tuple(options)


def _function(r: _Reader, section: str) -> int:
    return r.one_of(section, "function", (3, 4), r.get("read", "function"))


def catalogue(folder: Path = CATALOGUE) -> list[MeterFile]:
    """Every meter of the catalogue that is on a bus, by name. Raises MeterError."""
    return [meter for meter in everything(folder) if isinstance(meter, MeterFile)]


def everything(folder: Path = CATALOGUE) -> list[MeterFile | PulseFile]:
    """Every meter of the catalogue, by name. Raises MeterError."""
    return [read_any(path) for path in sorted(folder.glob("*.toml"))]


def find(name: str, folder: Path = CATALOGUE) -> MeterFile:
    """As find_any; raises MeterError for a meter that is on no bus, too."""
    return _on_bus(find_any(name, folder))


def find_any(name: str, folder: Path = CATALOGUE) -> MeterFile | PulseFile:
    """The meter called `name`, or the one in the file of that path. Raises MeterError."""
    if name.endswith(".toml"):
        return read_any(Path(name))
    known = everything(folder)
    plain = _plain(name)
    for meter in known:
        if plain == meter.name:
            return meter
    for meter in known:
        if plain in meter.names:
            return meter
    raise MeterError(f"unknown meter {name}; known: {', '.join(m.name for m in known)}")
