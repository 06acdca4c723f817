"""The socket's circuit as the board's pins see it: control pilot, proximity, lock, buttons,
protection, temperature. The car on the other end obeys the pilot."""

import random
from collections.abc import Callable
from typing import Any

from tillsim.kernel import ANALOG, Kernel

# boards/virtual/pins.csv
LOCKED_PIN, RCD_PIN, EMERGENCY_PIN, STOP_PIN, POWER_FAIL_PIN = 8, 9, 10, 11, 12
LOCK_PIN, UNLOCK_PIN, PWM_PIN = 13, 14, 15
PILOT_ADC, PROXIMITY_ADC, TEMPERATURE_ADC = 16, 17, 18
VOLTS = {"A": 12, "B": 9, "C": 6, "D": 3, "E": 0, "F": -12}  # IEC 61851-1:2017, table A.4
OHMS = {13: 1500, 20: 680, 32: 220, 63: 100, 0: 0}  # table B.2; 0: a short
CAR_MS = 200  # until a car follows the pilot
MOTOR_MS = 200
PRESS_MS = 300
BOUNCE_MS = 20
NOISE_MS = 10
_W_PER_A = 3 * 230
_STEADY = 65535


def allowed_a(duty: int) -> float:
    """What a car may draw at a duty in 1/65535 (table A.8)."""
    percent = duty * 100 / _STEADY
    if percent < 8 or percent > 97:
        return 0
    if percent <= 85:
        return max(6.0, percent * 0.6)
    return min(80.0, (percent - 64) * 2.5)


class Circuit:
    """changed(): called when what the car draws is going to be another."""

    def __init__(self, kernel: Kernel, changed: Callable[[], None]) -> None:
        self.unsafe: list[str] = []  # what must never happen, and has
        self.locked = False
        self._jammed = False
        self._motor = 0  # the pin that drives it, 0 for none
        self._plugged = self._wants = False
        self._s2 = False  # the car's own switch: it asks for energy
        self._drawn_w = 0
        self._forced: str | None = None  # the pilot's level, whatever the car does
        self._noise_mv = 0
        self._ohm: float = float("inf")
        self._celsius = 20.0
        self._inputs = 0
        self._duty = _STEADY
        self._plan = 0
        self._rng = random.Random(1)
        self._kernel = kernel
        self._changed = changed

    # -- what the board sees ------------------------------------------------------------------

    @property
    def pins(self) -> int:
        return self._inputs | self.locked << LOCKED_PIN

    @property
    def level(self) -> str:
        if self._forced:
            return self._forced
        return "A" if not self._plugged else "C" if self._s2 else "B"

    def show(self) -> None:
        """Puts the voltages on the board's analog inputs; at power-on, and when they change."""
        noise = self._rng.randint(-self._noise_mv, self._noise_mv)
        high = VOLTS[self.level] * 1000 + noise
        low = high if self.level in "EF" else -12000
        self._put(PILOT_ADC, high, low, self._duty)
        supply, pull_up = 3300, 1000
        seen = supply if self._ohm == float("inf") else supply * self._ohm / (self._ohm + pull_up)
        self._order(PROXIMITY_ADC, seen)
        self._order(TEMPERATURE_ADC, 500 + 10 * self._celsius)

    def _put(self, pin: int, high_mv: float, low_mv: float, duty: int) -> None:
        high, low = ((500 + (mv + 12000) / 10) * 1000 for mv in (high_mv, low_mv))
        self._kernel.order(ANALOG, pin, round(high), round(low), duty * 1000 // _STEADY)

    def _order(self, pin: int, mv: float) -> None:
        self._kernel.order(ANALOG, pin, round(mv * 1000), round(mv * 1000), 1000)

    # -- what the board does ------------------------------------------------------------------

    def on_pin(self, pin: int, level: int) -> None:
        if pin == PWM_PIN:
            self._duty = level
            self._follow()
        elif pin in (LOCK_PIN, UNLOCK_PIN):
            self._motor = pin if level else 0
            if level:
                self._kernel.after(MOTOR_MS, lambda: self._bolt(pin))

    def _bolt(self, pin: int) -> None:
        if self._motor == pin and not self._jammed:
            self.locked = pin == LOCK_PIN
            self._changed()

    def power_off(self) -> None:
        """The board's outputs let go: its pilot is steady; the bolt stays where it is."""
        self._duty, self._motor = _STEADY, 0
        self._follow()

    def contactor_closes(self, socket: bool) -> None:
        if socket and not self.locked:
            self.unsafe.append("the contactor closed with the cable unlocked")
        if self.level not in "CD":
            self.unsafe.append(f"the contactor closed in state {self.level}")

    # -- the car ------------------------------------------------------------------------------

    @property
    def drawn_w(self) -> int:
        """What the car would draw at most, were the contactor closed."""
        return self._drawn_w

    def car(self, plugged: bool, wants: bool, cable_a: int | None) -> None:
        """What the car is and wants from now on; cable_a: what its cable carries, None: as it
        was."""
        self._forced = None
        self._plugged, self._wants = plugged, wants
        if cable_a is not None:
            self._ohm = OHMS[cable_a]
        if not plugged:
            self._ohm = float("inf")
            self._s2 = False
        self._follow()

    def _follow(self) -> None:
        """The car does what the pilot says, CAR_MS later."""
        self._plan += 1
        plan = self._plan
        self._kernel.after(CAR_MS, lambda: self._obey(plan))
        if not self._plugged:
            self._drawn_w = 0
        self._show_change()

    def _obey(self, plan: int) -> None:
        if plan != self._plan:
            return
        amperes = allowed_a(self._duty)
        if self._forced:
            self._s2 = self._forced in "CD"
        else:
            self._s2 = self._plugged and self._wants and amperes > 0
        self._drawn_w = round(amperes * _W_PER_A) if self._s2 else 0
        self._show_change()

    def _show_change(self) -> None:
        self.show()
        self._changed()

    # -- what a scenario does -----------------------------------------------------------------

    def force(self, state: str, bounce_ms: int = 0, noise_mv: int = 0) -> None:
        """The pilot shows `state` until the car does something; after bouncing between it and what
        was before, and with so much noise on it."""
        before = self.level
        self._noise_mv = noise_mv
        if noise_mv:
            self._kernel.after(NOISE_MS, self._rustle)
        self._bounce([state, before] * (bounce_ms // BOUNCE_MS // 2) + [state])

    def _bounce(self, states: list[str]) -> None:
        self._forced = states[0]
        self._follow()
        if states[1:]:
            self._kernel.after(BOUNCE_MS, lambda: self._bounce(states[1:]))

    def _rustle(self) -> None:
        if self._noise_mv:
            self.show()
            self._kernel.after(NOISE_MS, self._rustle)

    def button(self, which: str, state: str) -> None:
        if which == "stop":
            self.set_input(STOP_PIN, True)
            self._kernel.after(PRESS_MS, lambda: self.set_input(STOP_PIN, False))
        else:
            self.set_input(EMERGENCY_PIN, state == "pressed")

    def fault(self, what: str, is_set: bool) -> None:
        if what == "rcd":
            self.set_input(RCD_PIN, is_set)
        else:
            self._jammed = is_set

    def power_fails(self, fails: bool) -> None:
        self.set_input(POWER_FAIL_PIN, fails)

    def temperature(self, celsius: float) -> None:
        self._celsius = celsius
        self.show()

    def set_input(self, pin: int, level: bool) -> None:
        self._inputs = self._inputs & ~(1 << pin) | level << pin
        self._changed()

    def truth(self) -> dict[str, Any]:
        return {"pilot": self.level, "locked": self.locked, "unsafe": self.unsafe}
