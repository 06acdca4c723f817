"""Power cuts in whole charging sessions: the app itself, booted from a LittleFS that loses power.

Run by tools/tillsim/powercut.py with arguments: file of cases, tariff table in hex. A case is a
line `plan left how second second_how silent real`: the power goes at the write that comes after
`left` others (-1: never), and once more after `second` others of what follows (-1: not again).
silent: the meter answers no boot. real: records are signed with P-256; else by a cheap stand-in
that never gives the same signature twice. Prints for each case `case writes expected found lost
doubled` and what else was wrong, and before it the records of a `real` one, for tillctl's verify.

The app is put together by its own compose.App. Stand-ins: clock, meter, contactor, display, and the
tasks, whose calls into till and outbox are made here, in charge_point's and uplink's order.
"""

import asyncio
import gc
import json
import struct
import sys
from binascii import crc32, hexlify, unhexlify
from hashlib import sha256

import ramflash

from evtill.app import charge_point, compose, events, identity, supervisor, uplink
from evtill.app import clock as clocks
from evtill.core import journal, jws, tokens
from evtill.core.errors import EvtillError, MeterError
from evtill.drivers import meters

_BLOCKS = 40
_BEGIN_MS = 1772477400000  # 2026-03-02T18:50:00Z: the tariff's price changes ten minutes later
_MINUTE_MS = 60000
_A_MINUTE_WH = 183
_SERIAL = "1234567"
_CONFIG = {
    "charger_id": "DE*EVT*E000123", "broker_host": "b", "mqtt_password": "password",
    "ack_key": "11" * 32, "command_key": "22" * 32, "token_key": "33" * 32,
}  # fmt: skip
_AUTH = {"method": "rfid", "token": "0123456789abcdef", "assurance": "uid", "ceiling_minor": None}
_KEY = bytes(range(1, 33))
_ROUNDS = 50  # of publishing, until all must have been acknowledged

# The link at the end of a session. LOSSY: of three publishes one is answered, one does not arrive,
# and of one the acknowledgement does not.
_DOWN, _LOSSY, _UP = range(3)
# Plan: bytes of a segment, sessions as (minutes, minutes between checkpoints, link), and the
# (session, minute) from which on the power may go, None: from the first boot on.
_PLANS = {
    "session": (32640, ((12, 4, _UP), (1, 1, _UP)), None),
    "compaction": (
        2600, ((2, 1, _DOWN), (1, 1, _UP), (1, 1, _DOWN), (1, 1, _DOWN), (2, 1, _LOSSY),
               (1, 1, _UP), (1, 1, _UP)), None,
    ),
    # So many checkpoints that the session's file is written anew.
    "long": (32640, ((90, 1, _UP), (1, 1, _UP)), (0, 80)),
    # So many records that segments go while others still hold some that wait.
    "backlog": (2600, ((1, 1, _DOWN),) * 22 + ((1, 1, _LOSSY),), (22, 1)),
}  # fmt: skip

RealIdentity = identity.Identity
RealJournal = journal.Journal


class PowerGone(Exception):
    """The flash died in the call that has just come back: on a board it would not have."""


class Wrong(Exception):
    """What must never be."""


class Session:
    """What is true of one session, whatever the charger remembers."""

    def __init__(self, ref, start_wh):
        self.ref = ref
        self.start_wh = self.end_wh = start_wh
        self.closed = False  # its contactor
        self.durable_wh = None  # of the last checkpoint whose call returned


class World:
    """What power cuts leave alone: time, the meter, the backend, what was promised."""

    def __init__(self, silent, flows_at_once):
        self.flash = None
        self.unix_ms = _BEGIN_MS
        self.booted_ms = 0
        self.register_wh = 1045120
        self.silent = silent
        self.flows_at_once = flows_at_once  # before the first checkpoint is durable
        self.charging = None
        self.sessions = []
        self.records = {}
        self.twice = 0  # records whose seq had been published with another content
        self.signed = 0
        self.writes = 0
        self.armed = None  # (left, how) of a cut that is yet to be set
        self.published = 0

    def alive(self):
        if self.flash.dead:
            raise PowerGone()

    def flow(self, wh):
        self.register_wh += wh
        self.charging.end_wh = self.register_wh

    def take(self, record_id, content):
        """The backend: idempotent on seq, and keeps the first."""
        content = bytes(content)
        seq = int(record_id.rsplit("-", 1)[1])
        self.twice += self.records.setdefault(seq, content) != content
        return hexlify(sha256(content).digest()).decode()


world = World(False, False)


# -- stand-ins ------------------------------------------------------------------------------------


class Clock:
    def __init__(self, rtc_unix_s):
        world.booted_ms = world.unix_ms

    def look(self):
        return True

    def now_ms(self):
        return world.unix_ms - world.booted_ms

    def unix_ms(self, at_ms=None):
        return world.unix_ms if at_ms is None else world.booted_ms + at_ms

    def trust(self):
        return "I"


class Meter:
    model = "sdm630"
    vendor = "Eastron"

    def __init__(self, modbus, table, address, nameplate):
        pass

    async def read_serial(self):
        return _SERIAL

    async def read_energy_wh(self):
        if world.silent:
            raise MeterError("no reply")
        return world.register_wh


class Identity:
    kid = "A" * 43

    def __init__(self, folder, signer=None):
        with open(folder + "/record.key", "rb") as file:
            file.read()

    def sign(self, digest):
        world.signed += 1
        salt = b"%d" % world.signed
        # All of a length, once in DER: or a case's writes would not be those that were counted.
        return [
            int.from_bytes(b"\x40" + sha256(half + salt + digest).digest()[1:], "big")
            for half in (b"r", b"s")
        ]


class Idle:
    """A part that does nothing, whatever it is asked."""

    def __init__(self, *args):
        pass

    def __getattr__(self, name):
        return self

    def __call__(self, *args):
        return None


class Hardware:
    DATA = "/f"
    rtc_unix_s = None
    network_up = None
    contactor = display = modbus = reader = watchdog = Idle

    def reset_cause(self):
        return "power"

    def signals(self):
        return []

    def plugged(self):
        return True

    def reset(self):
        raise Wrong("the charger was reset")


def put_stand_ins():
    clocks.Clock = Clock
    meters.Meter = Meter
    meters.line_of = lambda table: ()
    charge_point.ChargePoint = uplink.Uplink = supervisor.Supervisor = Idle
    events.print = lambda *words: None


# -- a charger's life -----------------------------------------------------------------------------


def factory(table):
    """Image of a flash as a technician leaves it."""
    flash = ramflash.Flash(_BLOCKS)
    ramflash.mount(flash, make=True)
    for name, content in (
        ("config.json", json.dumps(_CONFIG).encode()),
        ("tokens.bin", nobody()),
        ("tariff.bin", table),
        ("record.key", _KEY + struct.pack("<I", crc32(_KEY))),
    ):
        with open("/f/" + name, "wb") as file:
            file.write(content)
    return bytes(flash.data)


def nobody():
    """A token list that knows no card."""
    whose = tokens.whose(unhexlify(_CONFIG["token_key"]))
    head = struct.pack("<5s3BI3HBx8sI", tokens.MAGIC, 12, 10, 6, 0, 0, 0, 0, 0, whose, 0)
    return head + struct.pack("<I", crc32(head))


def charge(app, minutes, every, arm_at):
    """One session, in charge_point's order: commit, check, then act.

    arm_at: the (session, minute) from which on the power may go, or None."""
    till = app.till
    n = len(world.sessions)
    session = Session("S-%d" % len(world.sessions), world.register_wh)
    world.sessions.append(session)
    till.pick_tariff()
    why = till.why_not()
    world.alive()
    if why:
        raise Wrong("no session can start: " + why)
    till.start(dict(_AUTH, ref=session.ref), _SERIAL, world.register_wh)
    world.alive()
    if world.flash.left == 0 and world.flash.how == ramflash.NOTHING:
        world.flash.dead = True  # before the contactor closes: flash is none the wiser
        world.alive()
    session.closed = True
    world.charging = session
    if world.flows_at_once:
        world.flow(1)
        till.sample(app.clock.now_ms(), world.register_wh, True, 11000, 48000)
    checkpoint(till, session)
    app.events.report("session_started", session.ref)
    world.alive()
    for minute in range(1, minutes + 1):
        if (n, minute) == arm_at and world.armed:
            world.flash.cut(*world.armed)
            world.armed = None
            world.writes = writes(world.flash)
        world.unix_ms += _MINUTE_MS
        world.flow(_A_MINUTE_WH)
        till.sample(app.clock.now_ms(), world.register_wh, True, 11000, 48000)
        if minute % every == 0 and minute < minutes:
            checkpoint(till, session)
    world.charging = None  # the contactor is open
    till.stop("Local", app.clock.now_ms(), world.register_wh)
    till.settle()
    world.alive()
    app.events.report("session_stopped", session.ref)
    world.alive()


def checkpoint(till, session):
    till.checkpoint()
    world.alive()
    session.durable_wh = session.end_wh


def deliver(app, link):
    """Publishes what waits, a window at a time, events too; all of it when the link is up."""
    for outbox, backend in ((app.outbox, world.take), (app.events.ring, take_event)):
        for _ in range(_ROUNDS):
            acknowledged = []
            while True:
                item = outbox.next_to_send(app.clock.now_ms())
                world.alive()
                if item is None:
                    break
                outbox.sent(item[0], app.clock.now_ms())
                world.published += 1
                fate = world.published % 3 if link == _LOSSY else 0
                if fate == 1:
                    continue  # it never arrives
                sha256_hex = backend(*item)
                if fate == 0:  # else the acknowledgement never arrives
                    acknowledged.append((item[0], sha256_hex))
            for record_id, sha256_hex in acknowledged:
                outbox.confirm(record_id, sha256_hex)
                world.alive()
            if link != _UP or not outbox.waiting():
                break
            world.unix_ms += _MINUTE_MS  # what was lost becomes overdue
        else:
            raise Wrong("%d wait for ever" % outbox.waiting())


def take_event(event_id, content):
    """Takes an event; that flash was damaged by more than a torn end is not one to come."""
    event = json.loads(content)
    if event["name"] == "journal_torn" and not event["detail"].startswith("torn "):
        raise Wrong("damage: " + event["detail"])
    return hexlify(sha256(content).digest()).decode()


def wait_for_meter(app):
    """A silent meter is waited for; where nothing but its register tells, until it answers."""
    if not world.silent:
        raise Wrong("not settled: " + app.recovery.why)
    world.unix_ms += 11 * _MINUTE_MS
    if not asyncio.run(app.recovery.settle()):
        world.alive()
        world.silent = False
        if not asyncio.run(app.recovery.settle()):
            world.alive()
            raise Wrong("not settled: " + app.recovery.why)
        world.silent = True
    world.alive()


def live(plan):
    """One boot and what follows, until the power goes or the plan is done. Whether it is done."""
    try:
        ramflash.mount(world.flash)
        app = compose.App(Hardware(), Idle(), Idle())
        world.alive()
        if app.recovery.why:
            wait_for_meter(app)
        while len(world.sessions) < len(plan[1]):
            minutes, every, link = plan[1][len(world.sessions)]
            charge(app, minutes, every, plan[2])
            if link != _DOWN:
                deliver(app, link)
        deliver(app, _UP)
        if app.till.unfinished() or app.outbox.waiting():
            raise Wrong("something is left in the journal")
        return True
    except (OSError, EvtillError, PowerGone):
        if not world.flash.dead:
            raise
        return False
    finally:
        world.charging = None  # without power the contactor falls open


# -- what came of it ------------------------------------------------------------------------------


def judge():
    """(expected, found, lost, doubled) sessions, and what else is wrong with their records."""
    expected = lost = doubled = 0
    wrong = ""
    of = {}
    for content in world.records.values():
        record = json.loads(jws.b64url_decode(content.split(b".")[1]))
        of.setdefault(record["auth"]["ref"], []).append(record)
    for session in world.sessions:
        mine = of.pop(session.ref, [])
        if not session.closed:
            doubled += len(mine)
            continue
        # Before the first checkpoint is durable, the meter alone knows whether there was a session.
        flowed = session.end_wh > session.start_wh
        if mine or session.durable_wh is not None or flowed:
            expected += 1
            lost += not mine
            doubled += max(0, len(mine) - 1)
        for record in mine:
            wrong = wrong or wrong_energy(session, record)
    for mine in of.values():
        doubled += len(mine)
    found = len(world.records) + world.twice
    return (expected, found, lost, doubled + world.twice), wrong or wrong_chain()


def wrong_chain():
    """What is wrong with the records as an unbroken chain; "" when nothing is."""
    prev = "0" * 64
    for seq in range(1, len(world.records) + 1):
        if seq not in world.records:
            return "a hole at seq %d" % seq
        content = world.records[seq]
        record = json.loads(jws.b64url_decode(content.split(b".")[1]))
        if record["seq"] != seq or record["prev"] != prev:
            return "the chain breaks at seq %d" % seq
        if '"PG":"T%d"' % seq not in record["ocmf"]:
            return "pagination is not %d" % seq
        prev = hexlify(sha256(content).digest()).decode()
    return ""


def wrong_energy(session, record):
    """What is wrong with a record's energy, which is the meter's where that answered and else not
    below the last durable checkpoint's; "" when nothing is."""
    start_wh, end_wh = record["meter"]["start_wh"], record["meter"]["end_wh"]
    low_wh = session.durable_wh or session.start_wh
    if "end_reading_missing" not in record["flags"]:
        low_wh = session.end_wh
    if start_wh != session.start_wh or not low_wh <= end_wh <= session.end_wh:
        return "%s: %d to %d Wh" % (session.ref, start_wh, end_wh)
    if record["total_energy_wh"] != end_wh - start_wh:
        return "%s: the total is not end - start" % session.ref
    return ""


def writes(flash):
    return flash.programs + sum(flash.erases)


def run(plan, image, left, how, second, second_how, real):
    flash = world.flash = ramflash.Flash(_BLOCKS, bytearray(image))
    world.armed = (left, how)
    if plan[2] is None:
        flash.cut(left, how)
    done = live(plan)
    world.writes = writes(flash) - world.writes
    if done:
        # Where LittleFS puts things hangs on what they hold, so that some fewer writes may do.
        if 0 <= left < world.writes:
            raise Wrong("the power was never cut")
        return
    if second >= 0:
        world.flash = world.flash.after_power_cut()
        world.flash.cut(second, second_how)
        if live(plan):
            return  # that many writes were not needed
    world.flash = world.flash.after_power_cut()
    if not live(plan):
        raise Wrong("no end")


def main(cases, table):
    global world
    put_stand_ins()
    image = factory(table)
    with open(cases) as file:
        lines = file.read().split("\n")
    for line in lines:
        if not line:
            continue
        name, *rest = line.split()
        left, how, second, second_how, silent, real = [int(word) for word in rest]
        plan = _PLANS[name]
        identity.Identity = RealIdentity if real else Identity
        journal.Journal = lambda store: RealJournal(store, plan[0], reserve_bytes=8192)  # noqa: B023
        world = World(silent, how == ramflash.HALF)
        wrong = ""
        try:
            run(plan, image, left, how, second, second_how, real)
        except Exception as e:  # noqa: BLE001  (whatever it is, it is this case's result)
            wrong = "%s: %s" % (type(e).__name__, e)
        counts, also = judge()
        if real:
            for seq in sorted(world.records):
                print("record", world.records[seq].decode())
        print("case", world.writes, *counts, wrong or also)
        gc.collect()


if __name__ == "__main__":
    main(sys.argv[1], bytes.fromhex(sys.argv[2]))
