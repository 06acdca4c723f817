"""`tillctl meter`, as a technician runs it, against pymodbus RTU servers on ptys."""

import json
import os
import select
import subprocess
import sys
import threading
import tty
from datetime import UTC, datetime, timedelta

import pytest

from tillctl import __main__ as tillctl
from tillctl import meter_file
from tillsim.meter_wire import MeterWire


class Line:
    """A pty with meters on it: `path` is the technician's end."""

    def __init__(self, *wires):
        self.wires = wires
        self.master, self.slave = os.openpty()
        tty.setraw(self.master)
        tty.setraw(self.slave)
        self.path = os.ttyname(self.slave)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._relay)
        self._thread.start()

    def _relay(self):
        while not self._stop.is_set():
            if select.select([self.master], [], [], 0.02)[0]:
                data = os.read(self.master, 256)
                for wire in self.wires:
                    os.write(self.master, wire.feed(data))

    def close(self):
        self._stop.set()
        self._thread.join()
        os.close(self.master)
        os.close(self.slave)
        for wire in self.wires:
            wire.close()


@pytest.fixture
def line(request):
    line = Line(*[MeterWire(**options) for options in request.param])
    yield line
    line.close()


def tell(*words):
    """(exit code, standard output) of tillctl."""
    done = subprocess.run(
        [sys.executable, "-m", "tillctl", *words],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_list_names_every_meter_of_the_issue(capsys):
    assert tillctl.main(["meter", "list"]) == 0
    names = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert names >= {
        "sdm72", "sdm72v2", "sdm120", "sdm230", "sdm630", "sdm630v1", "em24", "em111", "em340",
        "em580", "b21", "b23", "b24", "iem3155", "iem3255", "wm3m4", "pro380", "7m38", "pac2200",
        "klefr6934",
    }  # fmt: skip


@pytest.mark.parametrize("name", [meter.name for meter in meter_file.catalogue()])
def test_show_and_check_every_meter(name, capsys):
    assert tillctl.main(["meter", "show", name]) == 0
    assert tillctl.main(["meter", "check", str(meter_file.CATALOGUE / f"{name}.toml")]) == 0
    said = capsys.readouterr()
    assert f"{name}: " in said.out and "  source " in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    ("called", "name"),
    [("SDM630", "sdm630"), ("sdm630v2", "sdm630"), ("Finder 7M.38", "7m38"), ("finder7m38", "7m38"),
     ("klefr 6934", "klefr6934"), ("6934", "klefr6934"), ("abb-b23", "b23"), ("iem3255", "iem3255"),
     ("sdm72d-m v1", "sdm72"), ("wm3m4c", "wm3m4")],
)  # fmt: skip
def test_a_meter_goes_by_many_names(called, name):
    assert meter_file.find(called).name == name


@pytest.mark.parametrize(
    "line",
    [[{"model": name, "address": 7}] for name in ("sdm120", "sdm630", "em340", "b23", "iem3155",
                                                  "pro380", "wm3m4", "pac2200")],
    indirect=True, ids=lambda options: options[0]["model"],
)  # fmt: skip
def test_read_over_a_pty(line):
    wire = line.wires[0]
    wire.set(register_wh=1045120, power_w=6900, voltage_mv=[230000] * 3, current_ma=[10000] * 3)
    code, out, err = tell(
        "meter", "read", line.path, "--meter", wire.meter.name, "--address", "7", "--json"
    )  # fmt: skip
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert list(found) == ["energy_wh", "power_w", "voltage_mv", "current_ma", "serial", "time"]
    phases = len(found["voltage_mv"])
    assert found["energy_wh"] == wire.register_wh and found["power_w"] == 6900
    assert found["voltage_mv"] == [230000] * phases and found["current_ma"] == [10000] * phases
    others = {"pac2200": None, "pro380": "01234567"}
    assert found["serial"] == others.get(wire.meter.name, "1234567")
    at = datetime.fromisoformat(found["time"])
    assert timedelta(0) <= datetime.now(UTC) - at < timedelta(seconds=30)


@pytest.mark.parametrize("line", [[{"model": "sdm630"}]], indirect=True)
@pytest.mark.parametrize("parity", ["none", "even", "odd"])
def test_read_with_a_line_of_ones_own(line, parity):
    line.wires[0].set(register_wh=5000, power_w=0)
    code, out, _ = tell("meter", "read", line.path, "--meter", "sdm630", "--baud", "38400",
                        "--parity", parity, "--json")  # fmt: skip
    assert code == 0 and json.loads(out)["energy_wh"] == 5000


@pytest.mark.parametrize("line", [[{"model": "sdm630"}]], indirect=True)
def test_read_says_in_words_what_it_says_in_json(line):
    line.wires[0].set(register_wh=1045120, power_w=-690, current_ma=[1000] * 3)
    code, out, _ = tell("meter", "read", line.path, "--meter", "sdm630")
    assert code == 0
    assert "1045.120 kWh" in out and "-690 W" in out and "230.0 V" in out and "1234567" in out


@pytest.mark.parametrize("line", [[{"model": "sdm630"}]], indirect=True)
@pytest.mark.parametrize(
    ("fault", "why"),
    [("silent", "no reply"), ("wrong_crc", "CRC"), ("exception", "exception 4")],
)
def test_a_fault_is_one_line_and_exit_code_1(line, fault, why):
    line.wires[0].fault = fault
    code, out, err = tell("meter", "read", line.path, "--meter", "sdm630", "--timeout-ms", "200")
    assert (code, out) == (1, "")
    assert why in err.splitlines()[-1] and "sdm630 at 9600 baud" in err.splitlines()[-1]


@pytest.mark.parametrize("line", [[{"model": "sdm630"}]], indirect=True)
def test_a_meter_that_lets_no_request_run_over_gaps_is_read_all_the_same(line):
    """A second table of the same meter, without gaps, serves it."""
    from dataclasses import replace

    narrow = MeterWire(model=replace(line.wires[0].meter, max_gap=0, max_registers=4))
    line.wires[0].close()
    line.wires = (narrow,)
    narrow.set(register_wh=5000, power_w=0)
    code, out, err = tell("meter", "read", line.path, "--meter", "sdm630", "--json")
    assert code == 0 and json.loads(out)["energy_wh"] == 5000
    assert "one by one" in err


def test_no_such_port():
    code, out, err = tell("meter", "read", "/dev/nonesuch", "--meter", "sdm630")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1 and "nonesuch" in err


def test_no_such_meter(capsys):
    assert tillctl.main(["meter", "show", "sdm999"]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "sdm999" in said and "sdm630" in said


@pytest.mark.parametrize(
    "line", [[{"model": "b23", "address": 3, "serial": 77}, {"model": "em24", "address": 5}]],
    indirect=True,
)  # fmt: skip
def test_probe_finds_every_meter_on_the_bus(line):
    """A pty has neither baud rate nor parity: the first that is tried fits."""
    for wire in line.wires:
        wire.set(register_wh=1000, power_w=0)
    code, out, err = tell("meter", "probe", line.path, "--address", "2-6", "--json")
    assert code == 0
    found = [json.loads(one) for one in out.splitlines()]
    assert found == [
        {"meters": ["b23"], "baud": 9600, "parity": "none", "address": 3, "serial": "77"},
        {"meters": ["em24"], "baud": 9600, "parity": "none", "address": 5, "serial": "1234567"},
    ]
    assert "9600 baud, none parity" in err


@pytest.mark.parametrize("line", [[{"model": "wm3m4"}]], indirect=True)
def test_probe_tries_the_factories_addresses_first(line):
    line.wires[0].set(register_wh=1000, power_w=0)
    code, out, _ = tell("meter", "probe", line.path, "--baud", "115200")
    assert code == 0
    assert out == "wm3m4 at 115200 baud, none parity, address 33, serial 1234567\n"


def test_probe_of_a_dead_line_says_so():
    line = Line()
    try:
        code, out, err = tell("meter", "probe", line.path, "--baud", "9600", "--parity", "none",
                              "--address", "1-2")  # fmt: skip
    finally:
        line.close()
    assert (code, out) == (1, "")
    assert "no meter answers" in err.splitlines()[-1]


@pytest.mark.parametrize("line", [[{"model": "sdm120", "address": 17}]], indirect=True)
def test_a_meter_that_does_not_tell_its_model_is_what_reads_like_it(line):
    line.wires[0].set(register_wh=1000, power_w=2300)
    code, out, _ = tell("meter", "probe", line.path, "--baud", "9600", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["address"] == 17 and "sdm120" in found["meters"]
    assert found["serial"] == "1234567"
