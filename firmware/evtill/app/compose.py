"""Puts the firmware together from the board's parts, and runs it."""

import asyncio
import binascii
import gc
import json
import os
import sys
import time

from evtill.app import files, screens
from evtill.core.errors import ConfigError, EvtillError, JournalError, JournalFull
from evtill.core.language import Language

_FLASH_RETRY_S = 60


def run(hw):
    """main.py's one call. A charger that cannot run says why, opens its contactor and returns,
    so that the serial port's prompt can be reached."""
    contactor = hw.contactor()  # made open: whatever goes wrong from here on, no energy flows
    display = hw.display()
    app = None
    while app is None:
        try:
            app = App(hw, contactor, display)
        except (EvtillError, OSError) as e:
            contactor.open()
            print("evtill: out of order:", e)
            _say_so(display, screens.out_of_order(str(e)))
            if not isinstance(e, (JournalError, OSError)):
                return
            time.sleep(_FLASH_RETRY_S)  # flash that fails may come back; Ctrl-C gives the prompt
    asyncio.run(app.run())


def _say_so(display, screen):
    """Shows a screen before there are tasks, in English; whether the display answers or not."""
    columns, rows = display.room(False)
    display.show(screens.lay_out(str, screen, columns, rows)[0])
    try:
        wait_ms = 0
        while wait_ms is not None:
            time.sleep_ms(wait_ms)
            wait_ms = display.step()
    except OSError as e:
        print("evtill: the display does not answer:", e)


def forget(name, package="evtill.app"):
    """Gives back the heap of a module of `package` if it is loaded; importing it again loads it
    anew. Who still runs in it keeps what he has of it."""
    sys.modules.pop(package + "." + name, None)
    try:
        delattr(sys.modules[package], name)
    except (AttributeError, KeyError):  # the latter is MicroPython's
        pass  # an import that found no room in the heap goes no further than sys.modules


def _configuration(hw):
    """The bytes of config.json. Raises ConfigError where there is none, OSError where the data
    partition, which boot.py could not mount, cannot be mounted now either."""
    path = hw.DATA + "/config.json"
    text = files.read(path)
    if text is None:
        try:
            os.stat(hw.DATA)
        except OSError:
            if not hw.data_is_blank():
                hw.mount_data()
                text = files.read(path)
    if text is None:
        raise ConfigError("no configuration: provision the charger")
    return text


class App:
    """Everything that runs, in the order in which it is built. Raises EvtillError, OSError."""

    def __init__(self, hw, contactor, display):
        from evtill.app import config
        from evtill.app.clock import Clock

        self.config = config.parse(_configuration(hw))
        forget("config")  # its table is 2 kB of heap that only a new configuration needs
        self.hw = hw
        self.contactor = contactor
        self.display = display
        self.clock = Clock(hw.rtc_unix_s)
        self.clock.look()
        self._open_flash()
        gc.collect()
        self._open_tokens()
        self._make_till()
        gc.collect()
        # While the rest is not there yet: a record that found no room in the heap finds it now.
        asyncio.run(self.recovery.settle())
        self._make_tasks()
        gc.collect()

    def _open_flash(self):
        from evtill.app.events import Events
        from evtill.app.flash_store import FlashStore
        from evtill.core.event_ring import EventRing
        from evtill.core.journal import BOOT, Journal
        from evtill.core.outbox import Outbox

        journal = self.journal = Journal(FlashStore(self.hw.DATA + "/journal"))
        self.boot = journal.boots() + 1
        try:
            journal.append(BOOT, json.dumps({"boot": self.boot}).encode())
        except JournalFull:
            pass  # what waits is sent all the same, which makes room; a START is refused till then
        self.outbox = Outbox(journal)
        ring = EventRing(FlashStore(self.hw.DATA + "/events"))
        self.events = Events(ring, self.clock, self.config["charger_id"], self.boot)
        cause = self.hw.reset_cause()
        self.events.report("boot", cause)
        self.report_damage()
        if cause == "watchdog":
            self.events.report("watchdog_reset", "")

    def report_damage(self):
        """Tells of what the journal found amiss since it was asked last."""
        for what, number in self.journal.damage:
            name = "pagination_skipped" if what == "pagination" else "journal_torn"
            self.events.report(name, "%s %d" % (what, number))
        del self.journal.damage[:]

    def _open_tokens(self):
        from evtill.app.token_store import TokenStore

        self.tokens = TokenStore(self.hw.DATA, binascii.unhexlify(self.config["token_key"]))

    def _make_till(self):
        from evtill.app import identity, tariff_files, till
        from evtill.app.recovery import Recovery

        self.identity = identity.of(self.hw)
        self.till = till.Till(
            self.config, self.identity, self.clock, self.journal, self.outbox, self.boot
        )
        config = self.config
        self._make_meter(files.read(self.hw.DATA + "/meter.bin"))
        if self.meter.model != config["meter_model"]:
            raise ConfigError("the meter table is a %s's" % self.meter.model)
        config["meter_vendor"] = self.meter.vendor
        given, kept = tariff_files.read(self.hw.DATA)
        whole = [file for file in (given, kept) if tariff_files.is_whole(file)]
        self.till.tables = whole[0] if whole else None
        if self.till.tables is not given:
            self.events.report("tariff_invalid", "damaged" if given else "missing")
        self.till.pick_tariff()
        self.recovery = Recovery(
            self.hw.DATA, self.till, self.meter, self.clock, self.events.report,
            "PowerLoss" if self.hw.reset_cause() == "power" else "Reboot",
        )  # fmt: skip

    def _make_meter(self, table):
        config = self.config
        nameplate = config["meter_serial"]
        if not table or table[:2] != b"EP":
            from evtill.drivers.meters import Meter, line_of

            bus = self.hw.modbus(*line_of(table))
            self.meter = Meter(bus, table, config["meter_address"], nameplate)
            return
        from evtill.drivers import pulse

        path = self.hw.DATA + "/pulses"
        if not nameplate:
            raise ConfigError("meter_serial is missing: a pulse meter does not tell it")

        def load():
            """The count, if it is of this meter."""
            try:
                count, _, whose = (files.read(path) or b"0 ").decode().partition(" ")
                return int(count) if whose == nameplate else 0
            except ValueError:
                raise ConfigError("the count of pulses is damaged: remove " + path)

        per_kwh, least_ms, model, vendor = pulse.parse(table)
        self.meter = pulse.PulseMeter(
            self.hw.pulse_input(), per_kwh, load,
            lambda count: files.write(path, b"%d %s" % (count, nameplate.encode())),
            config["meter_start_wh"], nameplate, least_ms=least_ms,
        )  # fmt: skip
        self.meter.model, self.meter.vendor = model, vendor

    def _circuit(self):
        """What the board has around its socket, as plug_side takes it; None for a plain contact."""
        if self.config["plug"] == "contact":
            return None
        circuit = self.hw.circuit(self.config)
        if circuit is None:
            raise ConfigError("plug: this board has a contact only")
        return circuit

    def _make_tasks(self):
        from evtill.app.charge_point import ChargePoint
        from evtill.app.commands import Commands
        from evtill.app.supervisor import Supervisor
        from evtill.app.uplink import Uplink
        hw = self.hw
        report = self.events.report
        watchdog = hw.watchdog()
        self.supervisor = supervisor = Supervisor(watchdog.feed, report)
        parts = {"meter": self.meter, "reader": hw.reader(), "contactor": self.contactor,
                 "display": self.display, "signals": hw.signals(), "plugged": hw.plugged,
                 "circuit": self._circuit(), "language": self._words(), "reset": hw.reset,
                 "recovery": self.recovery}  # fmt: skip
        self.charge_point = point = ChargePoint(
            self.config, parts, self.till, self.tokens, self.clock, report, supervisor.beat
        )
        self.nonce = binascii.hexlify(os.urandom(8)).decode()
        self.commands = Commands(
            self, binascii.unhexlify(self.config["command_key"]), self.nonce
        )  # fmt: skip
        self.uplink = Uplink(self, hw.network_up)
        if self.config["payment_host"]:
            point.access.ask = self.uplink.authorise
        if parts["signals"]:
            supervisor.add("face", point.face.run, 10000)
        supervisor.add("session", point.run_session, 30000)
        supervisor.add("reader", point.taps.run, 60000)
        supervisor.add("plug", point.plug.run, 10000)
        supervisor.add("meter", point.metering.run, 30000)
        supervisor.add("uplink", self.uplink.run, 180000)
        supervisor.add("clock", self.uplink.run_clock, 7200000)

    def _words(self):
        """The driver's language; English where its file cannot be used."""
        from evtill.core import language_file

        try:
            data = files.read(self.hw.DATA + "/language.bin", language_file.MAX_BYTES)
            if data:
                return language_file.parse(data, self.display.glyphs)
        except (EvtillError, OSError) as e:
            self.events.report("config_invalid", str(e))
        finally:
            forget("language_file", "evtill.core")
        return Language()

    async def run(self):
        """Runs the tasks for ever."""
        print("evtill: ready, heap %d used, %d free" % (gc.mem_alloc(), gc.mem_free()))
        await self.supervisor.run()
