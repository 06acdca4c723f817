"""Meter files: what is wrong is told with its line and key; what is right becomes requests."""

import itertools
from dataclasses import replace

import pytest

from evtill.core.errors import MeterError
from evtill.drivers import pulse
from tillctl import meter_file, meter_table

GOOD = """\
vendor = "Acme"
model = "M1"
sources = ["one", "two"]

[line]
baud = 9600
parity = "even"
address = 5

[read]
function = 3
type = "u32"

[energy]
register = 0x10
unit = "kWh"
scale = 0.01

[power]
register = 0x12
unit = "W"
type = "s16"
"""


def read(tmp_path, text, name="acme1.toml"):
    path = tmp_path / name
    path.write_text(text)
    return meter_file.read(path)


def test_a_small_file_is_enough(tmp_path):
    meter = read(tmp_path, GOOD)
    assert (meter.name, meter.baud, meter.parity, meter.stop_bits) == ("acme1", 9600, "even", 1)
    energy, power = meter.values
    assert (energy.times, energy.through, energy.size) == (10, 1, 2)
    assert (power.times, power.through, power.size) == (1, 1, 1)
    assert meter_table.plan(meter) == [((0x10, 3), [energy, power])]
    assert meter_table.step_wh(meter) == 10


# (what is put in the place of what, line that is named, words of the message)
WRONG = [
    ('vendor = "Acme"\n', "", 1, "vendor: missing"),
    ('["one", "two"]', "[]", 3, "sources: empty"),
    ('["one", "two"]', '["one"]', 3, "sources: one alone"),
    ('["one", "two"]', "[1]", 3, "sources: must be a list of texts"),
    ("[line]", "[lime]", 5, "[lime]: unknown; known: line, read"),
    ("baud = 9600", "baud = 9601", 6, "[line] baud: 9601 is none of 1200, 2400"),
    ("baud = 9600", "baud = true", 6, "[line] baud: True is none of"),
    ('"even"', '"E"', 7, "[line] parity: 'E' is none of none, even, odd"),
    ("address = 5", "address = 248", 8, "[line] address: must be a whole number from 1 to 247"),
    ("address = 5", "adress = 5", 8, "[line] adress: unknown; known: address, baud"),
    ("function = 3", "function = 6", 11, "[read] function: 6 is none of 3, 4"),
    ('type = "u32"', 'type = "f32"', 12, "[energy] type: 'f32' is none of u16, s16"),
    ('type = "u32"', 'type = "u32"\nmax_registers = 126', 13, "from 1 to 125"),
    ('type = "u32"', 'type = "u32"\nmax_registers = 1', 13, "a value takes 2 registers"),
    ("[energy]\nregister = 0x10\n", "[energy]\n", 14, "[energy] register: missing"),
    ("register = 0x10", "register = 0x10000", 15, "[energy] register: must be from 0 to 0xfffe"),
    ("register = 0x10", "register = 0x11", 19, "[power]: register 0x0012 belongs to two values"),
    ('"kWh"', '"kW"', 16, "[energy] unit: 'kW' is none of Wh, kWh, MWh"),
    ("scale = 0.01", "scale = 0", 17, "[energy] scale: must be a number above 0"),
    ("scale = 0.01", "scale = 1e-12", 17, "beyond what the board computes with"),
    ("scale = 0.01", "rollover_kwh = -1", 17, "[energy] rollover_kwh: must be a number of kWh"),
    ("[power]\n", "[power]\nregisters = [1]\n", 20, "[power] registers: unknown"),
    ('type = "s16"\n', 'type = "s16"\n[voltage]\nregisters = [1, 2, 3, 4]\nunit = "V"\n', 24,
     "[voltage] registers: must be a list of one to three"),
    ('type = "s16"\n', 'type = "s16"\n[serial]\nregister = 1\nform = "bcd"\n', 25,
     "[serial] form: 'bcd' is none of text"),
    ('type = "s16"\n', 'type = "s16"\n[identity]\nregister = 1\nvalues = ["odd"]\n', 25,
     "[identity] values: must be a list of numbers up to 0xFFFF, or of texts of even length"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "why"), WRONG)
def test_what_is_wrong_is_told_in_a_line_with_its_place(tmp_path, old, new, line, why):
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    with pytest.raises(MeterError) as told:
        read(tmp_path, text)
    message = str(told.value)
    assert "\n" not in message and why in message
    named = int(message.split("acme1.toml:")[1].split(":")[0])
    if "[energy] type" not in why:  # the default's, in [read], is named by who uses it
        assert named == line


def test_no_toml_is_told_with_its_line(tmp_path):
    with pytest.raises(MeterError, match="line 6"):
        read(tmp_path, GOOD.replace("9600", "9600 baud"))


def test_a_missing_file_and_a_bad_name(tmp_path):
    with pytest.raises(MeterError, match=r"nothing\.toml"):
        meter_file.read(tmp_path / "nothing.toml")
    with pytest.raises(MeterError, match="lower-case"):
        read(tmp_path, GOOD, "Acme One.toml")


def characters(spans):
    return sum(20 + 2 * count for _, count in spans)


PULSES = 'vendor = "V"\nmodel = "M"\nsources = ["a", "b"]\n\n[pulse]\nper_kwh = 800\n'


def test_a_pulse_meters_file_becomes_its_boards_table(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(PULSES + "least_ms = 35\n")
    table = meter_table.compile_table(meter_file.find_any(str(path)))
    assert pulse.parse(table) == (800, 35, "mine", "V")
    for i in range(len(table)):
        with pytest.raises(MeterError):
            pulse.parse(table[:i] + bytes([table[i] ^ 4]) + table[i + 1 :])
        with pytest.raises(MeterError):
            pulse.parse(table[:i])
    with pytest.raises(MeterError, match="no registers to read"):
        meter_file.find("s0")


@pytest.mark.parametrize(
    ("more", "why"),
    [("per_kwh = 0", "from 1 to 100000"), ("per_kwh = 1000\nleast_ms = 0", "from 1 to 1000"),
     ("per_kwh = 1000\n[line]\nbaud = 9600", "has no registers"), ("", "per_kwh: missing"),
     ("per_kwh = 1000\nbaud = 9600", "unknown")],
)  # fmt: skip
def test_a_pulse_meters_file_that_cannot_be(tmp_path, more, why):
    path = tmp_path / "mine.toml"
    path.write_text(PULSES.replace("per_kwh = 800", more))
    with pytest.raises(MeterError, match=why):
        meter_file.read_any(path)


@pytest.mark.parametrize("meter", meter_file.catalogue(), ids=lambda meter: meter.name)
def test_requests_hold_every_value_within_what_the_meter_allows(meter):
    requests = meter_table.plan(meter)
    asked = [value for _, group in requests for value in group]
    assert sorted(asked, key=lambda v: v.what) == sorted(meter.values, key=lambda v: v.what)
    for (start, count), group in requests:
        assert 1 <= count <= meter.max_registers
        named = {r for v in group for r in range(v.register, v.register + v.size)}
        named |= {v.exponent_register for v in group} - {None}
        assert min(named) == start and max(named) == start + count - 1
        gaps = [b - a - 1 for a, b in itertools.pairwise(sorted(named))]
        assert max(gaps, default=0) <= meter.max_gap
    assert meter_table.chars(meter) <= 1.15 * meter_table.minimum_chars(meter)


def test_no_way_to_ask_takes_less_time_on_the_bus(tmp_path):
    """Against every partition of the registers there is, of a meter that allows much."""
    meter = replace(meter_file.find("sdm630"), max_gap=123, max_registers=125)
    best = min(
        characters([(g[0].register, g[-1].register + 2 - g[0].register) for g in groups])
        for groups in partitions(sorted(meter.values, key=lambda v: v.register))
        if any({0, 1} <= {v.what for v in g} for g in groups)
    )
    assert meter_table.minimum_chars(meter) == best
    assert meter_table.chars(meter) == best


def partitions(values):
    if not values:
        yield []
    for n in range(1, len(values) + 1):
        for rest in partitions(values[n:]):
            yield [values[:n], *rest]


def test_a_wide_gap_is_not_run_over_when_two_requests_are_shorter():
    meter = replace(meter_file.find("sdm72"), max_gap=100, max_registers=125)
    far = replace(meter.values[0], register=0x34 + 2 + 90)
    meter = replace(meter, values=(far, meter.values[1]))
    assert len(meter_table.plan(meter)) == 1  # energy and power belong together all the same
    phases = [replace(meter.values[0], what=2 + i, register=0x200 + 60 * i) for i in range(3)]
    meter = replace(meter, values=(*meter.values, *phases))
    assert len(meter_table.plan(meter)) == 4


def test_the_energy_is_asked_for_last_and_the_power_before_it():
    meter = meter_file.find("em24")
    order = [{v.what for v in group} for _, group in meter_table.plan(meter)]
    assert order[-2:] == [{1}, {0}]
