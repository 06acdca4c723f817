"""Puts the firmware together from the board's parts, and runs it."""

import asyncio
import binascii
import gc
import hashlib
import json
import os
import sys

from evtill.app import screens
from evtill.core.errors import ConfigError, EvtillError


def run(hw):
    """main.py's one call. A charger that cannot run says why, opens its contactor and returns,
    so that the serial port's prompt can be reached."""
    # Collect early: what lives on would else come to lie scattered all over the heap, between
    # garbage, until no 1 kB in one piece is left of 40 kB free.
    gc.threshold(4096)
    contactor = hw.contactor()  # made open: whatever goes wrong from here on, no energy flows
    display = hw.display()
    try:
        app = App(hw, contactor, display)
    except (EvtillError, OSError) as e:
        contactor.open()
        print("evtill: out of order:", e)
        display.show(screens.out_of_order(str(e)))
        return
    asyncio.run(app.run())


def read_file(path):
    """The bytes of a file, or None where there is none."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return None


def write_file(path, content):
    """Replaces a file whole or not at all."""
    with open(path + ".new", "wb") as f:
        f.write(content)
    os.rename(path + ".new", path)


def forget(name):
    """Gives back the heap of a module of this package; importing it again loads it anew."""
    package = sys.modules["evtill.app"]
    del sys.modules["evtill.app." + name]
    delattr(package, name)


def sha256_of(path):
    """SHA-256 of a file in lowercase hex."""
    digest = hashlib.sha256()
    piece = bytearray(512)
    with open(path, "rb") as f:
        while True:
            n = f.readinto(piece)
            if not n:
                return binascii.hexlify(digest.digest()).decode()
            digest.update(memoryview(piece)[:n])


class App:
    """Everything that runs, in the order in which it is built. Raises EvtillError, OSError."""

    def __init__(self, hw, contactor, display):
        from evtill.app import config
        from evtill.app.clock import Clock

        text = read_file(hw.DATA + "/config.json")
        if text is None:
            raise ConfigError("no configuration: provision the charger")
        self.config = config.parse(text)
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
        asyncio.run(self._recover())
        if self.till.tables is not None and self.till.tables != self.tariff_files[1]:
            write_file(self.hw.DATA + "/tariff.good", self.till.tables)
        self.tariff_files = None
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
        journal.append(BOOT, json.dumps({"boot": self.boot}).encode())
        self.outbox = Outbox(journal)
        ring = EventRing(FlashStore(self.hw.DATA + "/events"))
        self.events = Events(ring, self.clock, self.config["charger_id"], self.boot)
        cause = self.hw.reset_cause()
        self.events.report("boot", cause)
        for what, number in journal.damage:
            self.events.report("journal_torn", "%s %d" % (what, number))
        del journal.damage[:]
        if cause == "watchdog":
            self.events.report("watchdog_reset", "")

    def _open_tokens(self):
        from evtill.core.tokens import TokenList

        path = self.hw.DATA + "/tokens.bin"
        self.tokens_sha256 = sha256_of(path)
        opened = [open(path, "rb")]

        def read_at(offset, n):
            try:
                if opened[0] is None:
                    opened[0] = open(path, "rb")
                opened[0].seek(offset)
                return opened[0].read(n)
            except OSError:
                opened[0] = None  # LittleFS would take what it failed to read for read
                raise

        self.tokens = TokenList(read_at, os.stat(path)[6])

    def _make_till(self):
        from evtill.app import till
        from evtill.app.identity import Identity
        from evtill.drivers.meters import Meter

        self.identity = Identity(self.hw.DATA)
        self.till = till.Till(
            self.config, self.identity, self.clock, self.journal, self.outbox, self.boot
        )
        config = self.config
        self.meter = Meter(self.hw.modbus(), config["meter_model"], config["meter_address"])
        # The file that a technician or the backend put there, and the last one that was whole.
        given, kept = [read_file(self.hw.DATA + name) for name in ("/tariff.bin", "/tariff.good")]
        self.tariff_files = (given, kept)
        self.till.tables = given if till.is_whole(given) else kept if till.is_whole(kept) else None
        if self.till.tables is not given:
            self.events.report("tariff_invalid", "damaged" if given else "missing")
        self.till.pick_tariff()

    def _make_tasks(self):
        from evtill.app.charge_point import ChargePoint
        from evtill.app.supervisor import Supervisor
        from evtill.app.uplink import Uplink
        hw = self.hw
        report = self.events.report
        watchdog = hw.watchdog()
        self.supervisor = supervisor = Supervisor(watchdog.feed, report)
        parts = {"meter": self.meter, "reader": hw.reader(), "contactor": self.contactor,
                 "display": self.display, "plugged": hw.plugged, "reset": hw.reset}  # fmt: skip
        self.charge_point = point = ChargePoint(
            self.config, parts, self.till, self.tokens, self.clock, report, supervisor.beat
        )
        self.uplink = Uplink(self, hw.network_up)
        supervisor.add("session", point.run_session, 30000)
        supervisor.add("reader", point.run_reader, 60000)
        supervisor.add("plug", point.run_plug, 10000)
        supervisor.add("meter", point.run_meter, 30000)
        supervisor.add("uplink", self.uplink.run, 180000)
        supervisor.add("clock", self.uplink.run_clock, 7200000)

    async def run(self):
        """Runs the tasks for ever."""
        print("evtill: ready, heap %d used, %d free" % (gc.mem_alloc(), gc.mem_free()))
        await self.supervisor.run()

    async def _recover(self):
        """Closes the session that an earlier boot left open."""
        found = self.till.unfinished()
        if found is None:
            return
        self.display.show(screens.out_of_order("restarting"))
        register_wh = None
        for _ in range(3):
            try:
                register_wh = await self.meter.read_energy_wh()
                break
            except EvtillError as e:
                self.events.report("meter_silent", str(e))
        reason = "PowerLoss" if self.hw.reset_cause() == "power" else "Reboot"
        bill = self.till.recover(found, self.tariff_files, register_wh, reason)
        if bill:
            self.events.report("session_closed_at_boot", "seq %d: %d minor units" % (
                found[0]["seq"], bill["incl_minor"]))  # fmt: skip
