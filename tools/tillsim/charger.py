"""The world around the board: car, contactor, meter, card reader, time, broker and backend.

Everything that a scenario's steps do is here, and the truth that only the simulators know.
"""

import asyncio
import struct
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from tillback import commands
from tillback.ingest import Ingest
from tillback.store import Store
from tillctl import meter_file as meters
from tillctl.meter_file import PulseFile
from tillsim.board import VirtualBoard
from tillsim.broker import Broker, Tls
from tillsim.car import Car, Metered
from tillsim.card_sim import AesCard, Phone
from tillsim.circuit import Circuit
from tillsim.kernel import ABSENT, Kernel
from tillsim.meter_wire import MeterWire
from tillsim.mqtt_tap import MqttTap
from tillsim.name_server import NameServer
from tillsim.panels import Hd44780, Ssd1306
from tillsim.pki import Authority, Issued
from tillsim.reader_wire import Activated, ReaderWire
from tillsim.relay import TcpRelay
from tillsim.tls_tap import TlsTap
from tillsim.udp_server import UdpServer
from tillsim.wires import SerialWire

BROKER_PORT, NTP_PORT = 1883, 123  # as the board is told: they are others on this machine
COIL_PIN, BUZZER_PIN = 4, 20  # boards/virtual/pins.csv
CONTACTOR_MS = 20  # from coil to contacts
CARD_HELD_MS = 700
LOOK_MS = 20  # after what the board has sent its display last
BROKER_NAME = "broker.evtill.test"  # by the network's own name server
OTHER_CARD_KEY = b"another operator"
UNSET_CLOCK_MS = 946_684_800_000  # 2000-01-01, what an ESP32 shows before its clock is set
_NTP_EPOCH_S = 2_208_988_800

T = TypeVar("T")


class TimeServer(UdpServer):
    """An SNTP server (RFC 4330) on the simulated wall clock; silent about a time it has not."""

    def __init__(self, kernel: Kernel, unix_ms: Callable[[], int | None]) -> None:
        super().__init__(kernel)
        self._unix_ms = unix_ms

    def answer(self, request: bytes) -> bytes | None:
        if len(request) < 48:
            return None
        now_ms = self._unix_ms()
        if now_ms is None:  # not synchronised itself: leap indicator 3, stratum 16 (section 4)
            stratum, leap, now_ms = 16, 0xC0, 0
        else:
            stratum, leap = 1, 0
        stamp = struct.pack(">II", now_ms // 1000 + _NTP_EPOCH_S, (now_ms % 1000 << 32) // 1000)
        head = bytes([leap | 0x24, stratum, request[2], 0xEC]) + bytes(8) + b"LOCL"
        return head + stamp + request[40:48] + stamp + stamp


class BackendDown(Exception):
    """A step wants something of a backend that another step has stopped."""


class Backend:
    """tillback's ingester, in a thread of its own, so that steps can stop and start it."""

    def __init__(self, store: Store, broker_url: str) -> None:
        self._store = store
        self._url = broker_url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._ingest: Ingest | None = None

    @property
    def up(self) -> bool:
        return self._ingest is not None

    def start(self) -> None:
        if self._ingest is None:
            self._ingest = Ingest(self._store, self._url)
            self._wait(self._ingest.start())
            self.ready()

    def ready(self) -> None:
        """Returns when it is subscribed (again)."""
        if self._ingest is not None:
            self._wait(self._ingest.ready())

    def lost(self) -> None:
        """Returns when it has noticed that the broker is gone."""
        while self._ingest is not None and self._ingest.connected:
            self._wait(asyncio.sleep(0.01))

    def stop(self) -> None:
        if self._ingest is not None:
            self._wait(self._ingest.stop())
            self._ingest = None

    def publish(self, topic: str, body: bytes) -> None:
        """Returns when the broker has it. Raises BackendDown."""
        if self._ingest is None:
            raise BackendDown("the backend is stopped: it sends no command")
        self._wait(self._ingest.publish(topic, body))

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._loop.is_running():
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)


class VirtualCharger:
    """One charger with everything around it. `do(step name, args)` makes something happen.

    tls: the board's link to the broker has TLS, with certificates that `authority` issues."""

    def __init__(self, charger: str, folder: Path, image: Path, *, start_ms: int | None,
                 mqtt_password: str, real_time: bool = False, bits: int = 64,
                 heap: str = "", meter: str = "sdm630", tls: bool = False,
                 plug: str = "contact", display: str = "text") -> None:  # fmt: skip
        self.folder = folder
        self.charger = charger
        self._command: bytes | None = None  # the last one sent
        self.wall_base_ms = start_ms
        self.display: list[dict[str, Any]] = []
        self.on_display: Callable[[dict[str, Any]], None] = lambda shown: None
        self.console = bytearray()
        self.panel: Ssd1306 | Hd44780 | None = None
        self.pictures: dict[str, Image.Image] = {}
        self.lights: list[tuple[float, int]] = []  # (seconds, 0xRRGGBB)
        self.tones: list[tuple[float, int]] = []  # (seconds, Hz or 0)
        self.kernel = kernel = Kernel(real_time=real_time)
        self.meter_file = found = meters.find_any(meter)
        pulses_kwh = found.per_kwh if isinstance(found, PulseFile) else 0
        # What a pulse meter measures is read from one with registers, which is on no bus then.
        self.meter = MeterWire(model="sdm630" if isinstance(found, PulseFile) else found)
        self.reader = ReaderWire()
        self.car = Car(kernel, self.meter, pulses_kwh, plug)
        self._card = 0
        self.card_key = bytes(16)  # the operator's master key of cards that have the right one

        users = {charger: mqtt_password, "tillback": mqtt_password}
        self.authority = Authority(folder / "pki")
        self.identity: Issued | None = None
        served = None
        if tls:
            self.identity = self.authority.issue(charger)
            server = self.authority.issue(BROKER_NAME)
            served = Tls(server.certificate, server.key, self.authority.certificate)
        self.broker = Broker(0, users, folder / "broker", tls=served)
        self.store = Store(f"sqlite:///{folder / 'tillback.sqlite'}")
        self.backend = Backend(self.store, self.broker.url("tillback"))
        self.tap = TlsTap() if tls else MqttTap()
        self.relay = TcpRelay(kernel, self.broker.tls_port or self.broker.port, self.tap)
        self.name_server = NameServer(kernel)
        self.time_server = TimeServer(kernel, self.network_ms)

        self.board = VirtualBoard(kernel, image, bits=bits, heap=heap, log=self.console.extend)
        self.board.name_server = self.name_server.port
        self.board.ports = [(BROKER_PORT, self.relay.port), (NTP_PORT, self.time_server.port)]
        self.meter_line = SerialWire(kernel, Metered(self.car, self.meter), self.meter.meter.baud,
                                  latency_ms=15)  # fmt: skip
        self.reader_line = SerialWire(kernel, self.reader, 115200, latency_ms=2)
        self.board.wires += [self.meter_line, self.reader_line]
        kernel.uarts += [self.meter_line, self.reader_line]
        kernel.on_pin = self._on_pin
        kernel.on_display = self._on_display
        if display != "text":
            self.board.panel = display
            self.panel = Ssd1306() if display == "ssd1306" else Hd44780()
        self._looks = 0  # of them, planned
        self._hz = 0  # the buzzer's, when it sounds
        kernel.on_i2c = self._on_i2c
        kernel.on_light = lambda rgb: self.lights.append((kernel.now_ms / 1000, rgb))
        kernel.on_tone = self._on_tone
        kernel.wall_ms = self._rtc_ms
        kernel.owed, kernel.forgive = self.tap.owed, self.tap.forgive
        self.board.on_power = self._on_power

    # -- time ---------------------------------------------------------------------------------

    def network_ms(self) -> int | None:
        """Unix ms as the network knows it; None while nobody has said."""
        return None if self.wall_base_ms is None else self.wall_base_ms + self.kernel.now_ms

    def _rtc_ms(self) -> int:
        known = self.network_ms()
        return UNSET_CLOCK_MS + self.kernel.now_ms if known is None else known

    # -- the board's pins ---------------------------------------------------------------------

    def _on_pin(self, pin: int, level: int) -> None:
        if pin == COIL_PIN and bool(level) != self.car.contactor_closed:
            self.kernel.after(CONTACTOR_MS, lambda: self._move_contactor(bool(level)))
        elif pin == BUZZER_PIN:
            self.tones.append((self.kernel.now_ms / 1000, self._hz if level else 0))
        elif self.car.circuit:
            self.car.circuit.on_pin(pin, level)

    def _move_contactor(self, closed: bool) -> None:
        if not closed or self.board.powered:
            self.car.change(contactor_closed=closed)

    def _on_power(self, on: bool) -> None:
        self.reader.power_cycle()
        if self.panel is not None:
            self.panel.power_cycle()
        if not on:  # the coil lets go
            self.car.change(contactor_closed=False)
        if self.car.circuit:
            if not on:
                self.car.circuit.power_off()
            self.car.circuit.show()

    def _on_display(self, lines: list[str]) -> None:
        shown = {"at": self.kernel.now_ms / 1000, "lines": lines[:4]}
        if lines[4:]:
            shown["qr"] = lines[4]
        self.display.append(shown)
        self.on_display(shown)

    def _on_tone(self, hz: int) -> None:
        self._hz = hz

    def _on_i2c(self, address: int, data: bytes) -> None:
        if self.panel is not None and address == self.panel.address:
            self.panel.write(data)
            if isinstance(self.panel, Hd44780):  # looked at when nothing has moved for a while
                self._looks += 1
                plan = self._looks
                self.kernel.after(LOOK_MS, lambda: self._look(plan))

    def _look(self, plan: int) -> None:
        if plan == self._looks and isinstance(self.panel, Hd44780):
            lines = self.panel.text()
            if not self.display or self.display[-1]["lines"] != lines:
                self._on_display(lines)

    # -- what happens -------------------------------------------------------------------------

    def start_servers(self) -> None:
        self.broker.start()
        self.backend.start()
        self.tap.backend_up = True

    def do(self, name: str, args: dict[str, Any]) -> None:
        """Carries out one step of a scenario (STEPS there)."""
        getattr(self, f"_do_{name}")(**args)

    def _do_tap(self, uid: str, card: str = "uid", key: str = "right", hidden: bool = False,
                held_ms: int = CARD_HELD_MS) -> None:  # fmt: skip
        self._card += 1
        number, raw = self._card, bytes.fromhex(uid)
        if card == "uid":
            said = self.reader.present(raw)
        else:
            said = self.reader.present_chip(self._chip(raw, card, key, hidden))
        self.reader_line.deliver(said, 5)
        self.kernel.after(held_ms, lambda: self._take_away(number))

    def _chip(self, uid: bytes, card: str, key: str, hidden: bool) -> Activated:
        if card == "phone":
            return Phone()
        chip = AesCard(card, uid)
        if key == "none":
            chip.applications.clear()
        else:
            chip.issue(self.card_key if key == "right" else OTHER_CARD_KEY)
        chip.random_id = hidden
        return chip

    def _do_reader(self, state: str) -> None:
        """reset: it forgot everything; hang: it acknowledges and answers no more."""
        if state == "reset" or (state == "ok" and self.reader.fault == "dead"):
            self.reader.power_cycle()
        self.reader.fault = {"hang": "no_answer", "unplug": "dead"}.get(state, "none")

    def _do_display(self, state: str) -> None:
        if self.panel is not None and state == "unplug":
            self.panel.power_cycle()
        self.kernel.order(ABSENT, state == "unplug")

    def _do_picture(self, name: str) -> None:
        if self.panel is not None:
            self.pictures[name] = self.panel.picture()

    def _take_away(self, card: int) -> None:
        if card == self._card:
            self.reader.remove()

    def _do_plug(self, kw: float, cable_a: int = 32) -> None:
        self._drive(cable_a, plugged=True, offered_w=round(kw * 1000))

    def _do_unplug(self) -> None:
        self._drive(None, plugged=False, offered_w=0)

    def _do_power(self, kw: float) -> None:
        self._drive(None, offered_w=round(kw * 1000))

    def _drive(self, cable_a: int | None, **car: Any) -> None:
        self.car.change(**car)
        if self.car.circuit:
            self.car.circuit.car(self.car.plugged, self.car.offered_w > 0, cable_a)

    @property
    def _circuit(self) -> Circuit:
        """Of steps that the scenario's check lets through only where there is one."""
        assert self.car.circuit is not None
        return self.car.circuit

    def _do_pilot(self, state: str, bounce_ms: int = 0, noise_mv: int = 0) -> None:
        self._circuit.force(state, bounce_ms, noise_mv)

    def _do_button(self, which: str, state: str = "pressed") -> None:
        self._circuit.button(which, state)

    def _do_temperature(self, celsius: float) -> None:
        self._circuit.temperature(celsius)

    def _do_fault(self, what: str, state: str = "set") -> None:
        if what == "weld":
            self.car.change(welded=state == "set")
        else:
            self._circuit.fault(what, state == "set")

    def _do_kill(
        self, at_write: int | None = None, how: str = "nothing", warned_ms: int = 0
    ) -> None:
        if warned_ms:
            self._circuit.power_fails(True)
        if at_write is None and warned_ms:
            self.kernel.after(warned_ms, self.board.kill)
        elif at_write is None:
            self.board.kill()
        else:
            self.board.kill_at_write(at_write, how)

    def _do_boot(self) -> None:
        if self.car.circuit:
            self.car.circuit.power_fails(False)
        self.board.power_on()

    def _do_broker(self, state: str) -> None:
        if state == "stop":
            self.relay.shut()
            self.broker.stop()
            self.backend.lost()
        else:
            self.broker.start()
            self.backend.ready()
            self.relay.open()

    def _do_backend(self, state: str) -> None:
        if state == "stop":
            self.backend.stop()
        else:
            self.backend.start()
        self.tap.backend_up = self.backend.up

    def _do_proxy(self, half_open: bool = False, clear: bool = False, **fault: Any) -> None:
        if clear:
            self.relay.clear()
        elif half_open:
            self.relay.half_open()
        for name, value in fault.items():  # of relay.Faults
            setattr(self.relay.faults, name, value)

    def _do_flash(self, state: str) -> None:
        self.board.set_flash(state)

    def _do_meter(self, fault: str | None = None, serial: int | None = None, **car: Any) -> None:
        """car: shift_wh, frozen, told of Car."""
        if fault is not None:
            self.meter.fault = fault
        if serial is not None:
            self.meter.replace(serial)
        self.car.change(**car)

    def _do_clock(self, set: int | None = None, step: float | None = None) -> None:
        if set is not None:
            self.wall_base_ms = set - self.kernel.now_ms
        elif step is not None and self.wall_base_ms is not None:
            self.wall_base_ms += round(step * 1000)

    def _do_command(
        self, name: str, args: dict[str, Any] | None = None, sign: str = "well"
    ) -> None:
        """The command goes to the charger's topic; `sign` is one of SPOILT, or "well"."""
        key = self.store.command_key(self.charger) or b""
        said = self.store.nonce(self.charger) or ""
        charger, now_s = self.charger, (self.network_ms() or 0) // 1000
        if sign == "replayed" and self._command:
            body = self._command
        else:
            if sign == "wrong_key":
                key = bytes(32)
            elif sign == "wrong_nonce":
                said = "0" * 16
            elif sign == "expired":
                now_s -= commands.LIFE_S
            elif sign == "other_charger":
                charger += "9"
            _, body = commands.sign(charger, key, said, name, args or {}, now_s=now_s)
            self._command = body
        self.tap.expect(b"/cmd")
        self.backend.publish(f"evtill/v1/{self.charger}/cmd", body)

    def _do_end(self) -> None:
        self.kernel.stop()

    def truth(self) -> dict[str, Any]:
        """What the simulators alone know."""
        self.car.settle()
        known = {"sessions": self.car.sessions, "register_wh": self.car.register_wh}
        return known | (self.car.circuit.truth() if self.car.circuit else {})

    def close(self) -> None:
        """Ends every process and thread; nothing is left behind."""
        self.board.close()
        self.relay.close()
        self.time_server.close()
        self.name_server.close()
        self.backend.close()
        self.broker.stop()
        self.meter.close()
