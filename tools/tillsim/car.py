"""The car on the virtual charger's cable: what flows, and the register that counts it."""

from typing import Any

from tillsim.circuit import Circuit
from tillsim.kernel import Kernel
from tillsim.meter_wire import MeterWire

FEEDBACK_PIN, PLUG_PIN, PULSE_PIN = 5, 6, 7  # boards/virtual/pins.csv
PULSE_MS = 40  # IEC 62053-31, 4.1: 30 at least
START_REGISTER_WH = 1_045_120
_WH = 3_600_000  # watt-milliseconds


class Car:
    """What flows: power from mains through contactor and plug, and the register that counts it.

    pulses_kwh: so many come at the pulse pin, where the meter has such an output; 0: none. plug:
    how the firmware is told that it is connected; beyond a contact there is a `circuit`.
    Exact integers: energy in watt-milliseconds."""

    def __init__(
        self, kernel: Kernel, meter: MeterWire, pulses_kwh: int = 0, plug: str = "contact"
    ) -> None:
        self.plugged = False
        self.offered_w = 0
        self.contactor_closed = False
        self.welded = False  # it stays closed, whatever the coil says
        self.shift_wh = 0  # what the register is off
        self.frozen = False  # the register stands, whatever flows
        self.told = 1.0  # of the power, the meter tells so much
        self.sessions: list[dict[str, Any]] = []
        self._kernel = kernel
        self._meter = meter
        self._modulus_wh = meter.meter.modulus_wh or 1 << 62
        self._w_ms = 0
        self._since_ms = 0
        self._pulse_w_ms = 1000 * _WH // pulses_kwh if pulses_kwh else 0
        self._pulse_on = False
        self._pulses = 0  # begun so far
        self._plan = 0  # numbers what is planned: power that changes makes another plan
        self._has_socket = plug == "socket"
        self._drawn_w = 0  # what the pilot lets the car draw, where there is one
        self.circuit = None if plug == "contact" else Circuit(kernel, self.change)
        self._show_pins()
        self.settle()

    @property
    def power_w(self) -> int:
        if not (self.plugged and (self.contactor_closed or self.welded)):
            return 0
        return min(self.offered_w, self._drawn_w) if self.circuit else self.offered_w

    def settle(self) -> None:
        """Counts what has flowed until now, and shows it at the meter."""
        self._w_ms += self.power_w * (self._kernel.now_ms - self._since_ms)
        self._since_ms = self._kernel.now_ms
        ma = round(self.power_w * 1000 / (3 * 230))
        register_wh = START_REGISTER_WH + self.shift_wh + self._w_ms // _WH
        self._meter.set(register_wh=None if self.frozen else register_wh % self._modulus_wh,
                        power_w=self.power_w * self.told,
                        voltage_mv=[230_000] * 3, current_ma=[ma] * 3)  # fmt: skip

    @property
    def register_wh(self) -> int:
        return self._meter.register_wh

    def change(self, **what: Any) -> None:
        """plugged, offered_w or contactor_closed, from now on; and what the circuit says."""
        self.settle()
        was_closed = self.contactor_closed
        for name, value in what.items():
            setattr(self, name, value)
        if self.circuit:
            self._drawn_w = self.circuit.drawn_w
        self.settle()
        seconds = self._kernel.now_ms / 1000
        if self.contactor_closed and not was_closed:
            if self.circuit:
                self.circuit.contactor_closes(self._has_socket)
            self.sessions.append({"contactor_closed_at": seconds, "contactor_opened_at": None,
                                  "start_wh": self.register_wh, "end_wh": None})  # fmt: skip
        elif was_closed and not self.contactor_closed:
            self.sessions[-1]["contactor_opened_at"] = seconds
            self.sessions[-1]["end_wh"] = self.register_wh
        self._show_pins()
        self._plan_pulse()

    def _show_pins(self) -> None:
        closed = self.contactor_closed or self.welded
        pins = closed << FEEDBACK_PIN | self.plugged << PLUG_PIN | (not self._pulse_on) << PULSE_PIN
        self._kernel.pins = pins | (self.circuit.pins if self.circuit else 0)

    def _plan_pulse(self) -> None:
        """The next pulse begins when its energy has flowed."""
        self._plan += 1
        if self._pulse_w_ms and self.power_w:
            missing = (self._pulses + 1) * self._pulse_w_ms - self._w_ms
            plan = self._plan
            self._kernel.after(max(0, -(-missing // self.power_w)), lambda: self._pulse(plan))

    def _pulse(self, plan: int) -> None:
        if plan == self._plan:
            self.settle()
            self._pulses += 1
            self._turn(True)
            self._kernel.after(PULSE_MS, lambda: self._turn(False))
            self._plan_pulse()

    def _turn(self, on: bool) -> None:
        self._pulse_on = on
        self._show_pins()
        self._kernel.heard(urgent=True)  # an interrupt ends every wait


class Metered:
    """The meter on its wire: counts what has flowed before it answers."""

    def __init__(self, car: Car, meter: MeterWire) -> None:
        self._car = car
        self._meter = meter

    def feed(self, data: bytes) -> bytes:
        self._car.settle()
        return self._meter.feed(data)
