"""The plug's side, a step of 50 ms at a time: what opens the contactor does so before anybody is
told, and what only bounces ends nothing."""

import itertools

import pytest

from evtill.app.plug_side import PlugSide
from evtill.drivers.contactor import Contactor
from evtill.drivers.inputs import Inputs
from evtill.drivers.pilot import Pilot
from host_tests import micropython
from host_tests.fakes.circuit import HIGH_MV, LOW_MV, Circuit
from host_tests.fakes.pins import Pin
from tillsim.circuit import allowed_a

CONFIG = {"ventilated": "off", "max_current_a": 32, "derate_start_c": 60, "derate_stop_c": 80}
A, B, C, D, E = 12, 9, 6, 3, 0  # volts


class Side:
    """A PlugSide with everything around it: a car at `volts`, inputs, a contactor whose contacts
    follow the coil unless `stuck`, and a session in `state` that hears what is posted."""

    def __init__(self, lock=True, **config):
        self.pins = [Pin() for _ in range(4)]
        self.rcd, self.emergency, self.stop, self.power_fail = self.pins
        self.circuit, self.bolt, self.warm_c = Circuit(A), Pin(1), 20
        self.coil, self.feedback, self.stuck = Pin(), Pin(), False
        self.contactor = Contactor(self.coil, self.feedback)
        self.state, self.heard, self.events, self.saved = ("available",), [], [], 0
        self.face = self
        needed = zip(self.pins, (2, 2, 2, 1), strict=True)
        self.plug = PlugSide(CONFIG | config, {
            "pilot": Pilot(self.circuit, self.circuit, LOW_MV, HIGH_MV),
            "inputs": Inputs(list(needed)), "lock": (Pin(), Pin(), self.bolt) if lock else None,
            "ohm": lambda: 220, "celsius": lambda: self.warm_c,
        }, self.contactor, lambda name, detail: self.events.append((name, detail)), None,
            self)  # fmt: skip

    def post(self, event, detail=None):
        self.heard.append((event, detail))
        if event == "fault":
            assert not self.coil.level, "told before the contactor was open"
            self.state = ("faulted",)
        elif event == "cleared":
            self.state = ("available",)

    def save_now(self):
        assert not self.coil.level
        self.saved += 1

    def steps(self, n, volts=None):
        """Whether the contactor was commanded closed after each of them."""
        if volts is not None:
            self.circuit.volts = volts
        seen = []
        for _ in range(n):
            self.plug.step()
            if not self.stuck:
                self.feedback.level = self.coil.level
            seen.append(bool(self.coil.level))
        return seen

    def charging(self):
        self.steps(8, B)
        self.plug.close()
        self.state = ("charging",)
        assert self.steps(4, C) == [False, True, True, True]
        self.heard.clear()
        return self

    def names(self):
        return [name for name, _ in self.events]


@pytest.fixture
def side():
    return Side()


def test_energy_flows_while_it_is_allowed_and_the_car_asks(side):
    assert not any(side.steps(20, C)) and side.heard == [("plugged", None)]
    assert side.circuit.duty == 65535
    side.plug.close()
    assert all(side.steps(5))
    assert allowed_a(side.circuit.duty) == pytest.approx(32, abs=0.01)
    assert side.steps(3, B) == [True, False, False]
    # Not again before 3 s are over: nothing that flickers makes the contactor chatter.
    assert side.steps(70, C).index(True) >= 55
    side.plug.open()
    assert not side.coil.level and side.circuit.duty == 65535


@pytest.mark.parametrize(
    ("pin", "reason", "event"),
    [("rcd", "GroundFault", "ground_fault"), ("emergency", "EmergencyStop", "emergency_stop")],
)
def test_protection_opens_the_contactor_before_the_session_hears_of_it(side, pin, reason, event):
    side.charging()
    getattr(side, pin).level = 1
    assert side.steps(3) == [True, False, False]
    assert side.heard == [("fault", reason)] and side.names() == [event]
    getattr(side, pin).level = 0
    assert not any(side.steps(100)) and side.plug.why == "unplug, please"
    side.steps(20, A)
    assert side.heard[1:] == [("unplugged", None), ("cleared", None)] and side.plug.why is None


def test_a_session_that_ends_by_itself_is_not_the_end_of_the_fault(side):
    """Its record is made, the charger would be available: it is not."""
    side.charging()
    side.emergency.level = 1
    side.steps(2)
    side.state = ("finishing",)
    side.steps(20)
    side.state = ("available",)
    side.steps(10)
    assert side.state == ("faulted",) and side.plug.why == "emergency stop"


def test_contacts_that_bounce_end_nothing(side):
    side.charging()
    for pin, volts in itertools.product((side.rcd, side.emergency, side.stop), (C, A, B, E, 4.5)):
        pin.level, side.circuit.volts = 1, volts
        side.steps(1)
        pin.level, side.circuit.volts = 0, C
        assert all(side.steps(3))
    assert side.heard == [] and side.events == []


def test_a_car_that_flickers_keeps_its_session_and_the_contactor_does_not_chatter(side):
    side.charging()
    closed = [now for volts in [B, C] * 200 for now in side.steps(4, volts)]
    closings = sum(after and not before for before, after in itertools.pairwise(closed))
    assert closings <= len(closed) // 60 + 1 and side.heard == []


def test_a_supply_that_fails_is_saved_for_at_once_and_one_that_comes_back_goes_on(side):
    side.charging()
    side.power_fail.level = 1
    assert side.steps(1) == [False]
    assert side.saved == 1
    assert not any(side.steps(100)) and side.saved == 1
    side.power_fail.level = 0
    assert any(side.steps(62))
    assert side.heard == [] and side.names() == ["power_failing"]


def test_a_bolt_that_comes_out_ends_the_session(side):
    side.charging()
    side.bolt.level = 0
    assert all(side.steps(9))
    assert not any(side.steps(3)) and side.heard == [("fault", "Other")]


def test_nothing_flows_through_a_cable_that_is_not_locked():
    side = Side()
    side.bolt.level = 0
    side.steps(8, C)
    side.plug.close()
    assert not any(side.steps(30))
    assert any(Side(lock=False).charging().steps(5))


def test_a_weld_stays_until_a_technician_was_there(side):
    side.charging()
    side.stuck = True
    assert side.steps(4, B)[-1] is False
    side.steps(12)
    assert ("fault", "TillFault") in side.heard and side.names() == ["contactor_welded"]
    side.stuck = False
    side.steps(100, A)
    assert side.state == ("faulted",) and side.plug.why == "please call us"
    assert side.plug.unlock() is None  # it is open: the cable may go


def test_a_contactor_that_falls_open_is_told(side):
    side.charging()
    side.stuck, side.feedback.level = True, 0
    side.steps(12)
    assert side.names() == ["contactor_fault"] and ("fault", "TillFault") in side.heard


def test_a_pilot_fault_is_over_when_the_car_is_gone(side):
    side.charging()
    assert side.steps(4, E) == [True, False, False, False]
    side.steps(10)
    assert side.heard == [("fault", "Other")] and side.events == [("plug_fault", "pilot E")]
    side.steps(40, A)
    assert side.heard[1:] == [("unplugged", None), ("cleared", None)]


@pytest.mark.parametrize(("ventilated", "flows"), [("off", False), ("on", True)])
def test_ventilation(ventilated, flows):
    side = Side(ventilated=ventilated)
    side.steps(8, D)
    side.plug.close()
    assert any(side.steps(20)) is flows
    assert side.names() == ([] if flows else ["plug_fault"])


def test_the_offer_falls_with_the_temperature_and_ends(side):
    side.charging()
    offered = []
    for celsius in (59, 70, 81, 76, 75, 58, 55, None):
        side.warm_c = celsius
        side.steps(20)
        offered.append(round(allowed_a(side.circuit.duty)))
    assert offered == [32, 19, 0, 0, 12, 32, 32, 6]
    said = [detail.partition(": ")[2] for _, detail in side.events]
    assert said == ["derated", "paused", "derated", "normal", "derated"]
    assert side.heard == []


def test_a_car_that_does_not_stop_in_a_pause_loses_the_contactor(side):
    side.charging()
    side.warm_c = 90
    assert 60 <= side.steps(90).index(False) <= 82  # 3 s after it was seen, once a second


def test_the_stop_button_is_a_stop(side):
    side.charging()
    side.stop.level = 1
    side.steps(10)
    assert side.heard == [("stop", "Local")]


def test_a_step_takes_no_heap_on_the_board():
    """While a car charges, with the heap locked: any allocation would be a MemoryError."""
    code = """
import micropython
from evtill.app.plug_side import PlugSide
from evtill.drivers.contactor import Contactor
from evtill.drivers.inputs import Inputs
from evtill.drivers.pilot import Pilot
class Part:
    def __init__(self, level): self.level = level
    def value(self, level=None):
        if level is None: return self.level
        self.level = level
class Car:
    def __init__(self): self.n = 0; self.duty = 65535
    def read_uv(self):
        self.n = (self.n + 4001) % 65536
        return 2300000 if self.n < self.duty else 500000
    def duty_u16(self, duty): self.duty = duty
class Point:
    state = ("charging",)
    def post(self, *event): print(event)
coil, car = Part(0), Car()
config = {"ventilated": "off", "max_current_a": 32, "derate_start_c": 60, "derate_stop_c": 80}
plug = PlugSide(config, {
    "pilot": Pilot(car, car, 500, 2900), "inputs": Inputs([(Part(0), 2)] * 4),
    "lock": (Part(0), Part(0), Part(1)), "ohm": None, "celsius": lambda: 70,
}, Contactor(coil, coil), print, None, Point())
def steps(n):
    for _ in range(n):
        plug.step()
plug.close()
steps(25)
micropython.heap_lock()
steps(100)
micropython.heap_unlock()
print(coil.level, car.duty)
"""
    said = micropython.run(code, bits=32).splitlines()
    assert said == ["('plugged',)", "temperature 70 C: derated", f"1 {19 * 65535 // 60}"]
