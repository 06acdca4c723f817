"""The lock-step clock of the virtual charger, and the loop that relays its wires.

Simulated time stands still while the board computes. When the board would wait, it asks for the
clock to advance; the kernel first lets everything that is under way arrive (bytes on a wire, an
answer that a real server owes, a worker thread's job), and only then goes to the next due event
or to the end of the board's wait, whichever is first. In real-time mode the same loop sleeps
until then. So no timeout fires that the simulated timing did not cause.
"""

import heapq
import itertools
import selectors
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

ADVANCE, PIN, DISPLAY, WATCHDOG, TIME = 0x41, 0x50, 0x44, 0x57, 0x54
I2C, LIGHT, TONE, ABSENT = 0x49, 0x4C, 0x48, 0x55
WRITES, CUT, FLASH, ANALOG = 0x46, 0x43, 0x58, 0x4E  # see boards/virtual/silicon/link.py
_FRAME = struct.Struct("<BBHiii")
_ASLEEP = 0x80
# A real server (broker, backend) that owes an answer is waited for this long, then given up.
OWED_GRACE_S = 3.0
# A worker thread that is busy for longer than this waits for something that will not come soon:
# from then on simulated time passes at the pace of real time.
BUSY_GRACE_S = 0.25
BUSY_LOOK_MS = 2  # in real time the clock goes on
HANG_S = 30.0


class BoardHung(Exception):
    """The board computed for HANG_S real seconds without waiting once."""


class Source(Protocol):
    """Something with a file descriptor that the kernel reads when it is readable."""

    def fileno(self) -> int: ...
    def on_readable(self) -> None: ...


class Settles(Protocol):
    """A wire whose bytes take real time to arrive although no simulated time passes."""

    def settled(self, board_tx_total: int) -> bool: ...


@dataclass
class Kernel:
    """One simulated clock. `now_ms` counts from the first power-on of the board."""

    real_time: bool = False
    now_ms: int = 0
    pins: int = 0
    on_pin: Callable[[int, int], None] = lambda pin, level: None
    on_display: Callable[[list[str]], None] = lambda lines: None
    on_i2c: Callable[[int, bytes], None] = lambda address, data: None
    on_light: Callable[[int], None] = lambda rgb: None
    on_tone: Callable[[int], None] = lambda hz: None
    on_watchdog: Callable[[int], None] = lambda ms: None
    on_writes: Callable[[int], None] = lambda n: None
    on_cut: Callable[[int], None] = lambda n: None
    on_floor: Callable[[bool], None] = lambda has: None  # the board goes on, or waits again
    wall_ms: Callable[[], int] = lambda: 0
    owed: Callable[[], bool] = lambda: False
    forgive: Callable[[], None] = lambda: None
    uarts: list[Settles] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._control: socket.socket | None = None
        self._on_hangup: Callable[[], None] = lambda: None
        self._booted_at_ms = 0
        self._waiting: tuple[int, int, bool, tuple[int, int]] | None = None
        self._heard = self._urgent = False
        self._orders = b""
        self._last_frame = self._busy_since = time.monotonic()
        self._pace_carry_s = 0.0
        self.stopped = False

    # -- the board's end ----------------------------------------------------------------------

    def attach(self, control: socket.socket, on_hangup: Callable[[], None]) -> None:
        """Takes the control line of a board that is being powered on now; `on_hangup` is called
        when its process ends."""
        self.detach()
        self._control = control
        self._on_hangup = on_hangup
        self._booted_at_ms = self.now_ms
        self._last_frame = time.monotonic()
        self._selector.register(control, selectors.EVENT_READ, self._on_control)

    def detach(self) -> None:
        if self._control is not None:
            self._selector.unregister(self._control)
            self._control.close()
        self._control = None
        self._waiting = None
        self._orders = b""

    @property
    def attached(self) -> bool:
        return self._control is not None

    def _on_control(self) -> None:
        assert self._control is not None
        try:
            frame = self._control.recv(_FRAME.size, socket.MSG_WAITALL)
        except OSError:
            frame = b""
        if len(frame) != _FRAME.size:
            self._on_hangup()
            return
        op, arg, length, value, tx1, tx2 = _FRAME.unpack(frame)
        payload = self._control.recv(length, socket.MSG_WAITALL) if length else b""
        self._last_frame = time.monotonic()
        if op == ADVANCE:
            self.on_floor(False)
            deadline = -1 if value < 0 else self.now_ms + value
            busy = arg & ~_ASLEEP
            if not busy:
                self._busy_since = self._last_frame
            self._waiting = (deadline, busy, bool(arg & _ASLEEP), (tx1, tx2))
        elif op == PIN:
            self.on_pin(arg, value)
        elif op == DISPLAY:
            self.on_display(payload.decode("latin-1").split("\n"))
        elif op == I2C:
            self.on_i2c(arg, payload)
        elif op == LIGHT:
            self.on_light(value)
        elif op == TONE:
            self.on_tone(value)
        elif op == WATCHDOG:
            self.on_watchdog(value)
        elif op == WRITES:
            self.on_writes(value)
        elif op == CUT:
            self.on_cut(value)

    def order(self, op: int, arg: int = 0, *values: int) -> None:
        """Tells the board something ahead of the time: it knows before it does anything more."""
        self._orders += _FRAME.pack(op, arg, 0, *(*values, 0, 0, 0)[:3])

    def _answer(self) -> None:
        """Ends the board's wait with the present time, pins and wall clock."""
        assert self._control is not None
        self._waiting = None
        self._heard = self._urgent = False
        wall_ms = self.wall_ms()
        frame = _FRAME.pack(
            TIME, self.pins & 0xFF, self.pins >> 8, self.now_ms - self._booted_at_ms,
            wall_ms // 1000 - 0x80000000, wall_ms % 1000,
        )  # fmt: skip
        try:
            self.on_floor(True)
            self._control.sendall(self._orders + frame)
            self._orders = b""
        except OSError:
            self._on_hangup()

    def heard(self, urgent: bool = False) -> None:
        """A wire gave the board something to read: its wait is over. A sleeping board hears only
        what is urgent (its console, for Ctrl-C)."""
        self._heard = True
        self._urgent = self._urgent or urgent

    # -- events -------------------------------------------------------------------------------

    def at(self, at_ms: int, action: Callable[[], None]) -> None:
        """Runs `action` when the clock shows `at_ms` (at once if that is past)."""
        heapq.heappush(self._events, (max(at_ms, self.now_ms), next(self._order), action))

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        self.at(self.now_ms + delay_ms, action)

    def watch(self, source: Source) -> None:
        self._selector.register(source.fileno(), selectors.EVENT_READ, source.on_readable)

    def unwatch(self, source: Source) -> None:
        self._selector.unregister(source.fileno())

    def restart_clock(self) -> None:
        """Time 0 is now; what was going to happen is forgotten. Only while no board is attached."""
        self.now_ms = 0
        self._events.clear()

    # -- the loop -----------------------------------------------------------------------------

    def run(self, done: Callable[[], bool] = lambda: False) -> None:
        """Runs until stop(), or until `done()` says so. Raises BoardHung."""
        self.stopped = False
        self._pace_carry_s = 0.0
        while not self.stopped and not done():
            self._step()

    def stop(self) -> None:
        self.stopped = True

    def poll(self, timeout_s: float) -> bool:
        """Serves what is readable now, waiting for it at most `timeout_s` of real time."""
        ready = self._selector.select(timeout_s)
        for key, _ in ready:
            if key.fd in self._selector.get_map():
                key.data()
        return bool(ready)

    def _step(self) -> None:
        if self.poll(0):
            return
        if self._waiting is None:
            self._while_board_computes()
            return
        deadline, busy, asleep, tx_totals = self._waiting
        if not self._all_arrived(tx_totals):
            self.poll(0.0005)
        elif self._urgent or (self._heard and not asleep):
            self._answer()
        elif not self._something_real_is_under_way(busy):
            self._advance(deadline, paced=bool(busy))

    def _while_board_computes(self) -> None:
        if self._control is None:  # powered off: only events can change that
            if self._events:
                self._go_to(self._pace(self._events[0][0]) if self.real_time else
                            self._events[0][0])  # fmt: skip
            else:
                self.poll(0.2)
        elif not self.poll(0.5) and time.monotonic() - self._last_frame > HANG_S:
            raise BoardHung(f"the board computed for {HANG_S:.0f} s without waiting")

    def _all_arrived(self, tx_totals: tuple[int, int]) -> bool:
        return all(uart.settled(tx) for uart, tx in zip(self.uarts, tx_totals, strict=False))

    def _something_real_is_under_way(self, busy: int) -> bool:
        """True if simulated time must not pass yet; then something has been done about it."""
        now = time.monotonic()
        if self.real_time:
            if busy:
                # The worker's result shows on the board only: let it look again soon.
                self._go_to(self._pace(self.now_ms + BUSY_LOOK_MS))
                if self._waiting is not None:
                    self._answer()
            return bool(busy)
        if busy:
            if now - self._busy_since < BUSY_GRACE_S:
                if not self.poll(0.001):
                    self._answer()
                return True
        elif self.owed():
            if now - self._last_frame < OWED_GRACE_S:
                self.poll(0.002)
                return True
            self.forgive()
        return False

    def _advance(self, deadline: int, paced: bool) -> None:
        """Goes to the board's deadline or the next event, whichever is first."""
        goals = [t for t in (deadline, self._events[0][0] if self._events else -1) if t >= 0]
        if not goals:
            if not self.poll(0.5) and not self.real_time:
                raise BoardHung("the board waits for ever, and nothing is going to happen")
            return
        self._go_to(self._pace(min(goals)) if self.real_time or paced else min(goals))
        over = self._waiting is not None and 0 <= deadline <= self.now_ms
        if over and self._waiting is not None and self._all_arrived(self._waiting[3]):
            self._answer()

    def _pace(self, target_ms: int) -> int:
        """Waits in real time towards `target_ms`, or until a wire speaks. Returns the time then.

        A fraction of a millisecond that a wire cuts off is carried over, so the clock keeps up."""
        began = time.monotonic() - self._pace_carry_s
        self.poll(max(0.0, (target_ms - self.now_ms) / 1000 - self._pace_carry_s))
        passed_s = time.monotonic() - began
        reached = min(target_ms, self.now_ms + int(passed_s * 1000))
        self._pace_carry_s = min(passed_s - (reached - self.now_ms) / 1000, 0.25)
        return reached

    def _go_to(self, target_ms: int) -> None:
        self.now_ms = max(self.now_ms, target_ms)
        while self._events and self._events[0][0] <= self.now_ms:
            heapq.heappop(self._events)[2]()
