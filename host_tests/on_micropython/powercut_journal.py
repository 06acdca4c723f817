"""Power cuts at every program and erase of sessions on a real LittleFS.

Run with arguments: blocks sessions stride seed second. Cuts at each `stride`-th write (1: all), in
three ways each; every `second`-th case has a further cut while it recovers (0: none). Prints one
line `cases expected found lost doubled`; raises at anything that must not be.
"""

import sys
from binascii import b2a_base64, hexlify
from hashlib import sha256

import ramflash

from evtill.app.flash_store import FlashStore
from evtill.core.errors import JournalError
from evtill.core.journal import BOOT, CHECKPOINT, START, STOP, Journal
from evtill.core.outbox import Outbox

_SEGMENT_BYTES = 2600  # small: each run rolls over and removes segments
_CHECKPOINTS = 3
_STEP_WH = 1000
_HEADER = b"eyJhbGciOiJFUzI1NiIsInR5cCI6ImV2dGlsbC11c2FnZStqd3MifQ"


class Backend:
    """Idempotent on seq; a second content for one seq is what must never happen."""

    def __init__(self):
        self.records = {}

    def take(self, record_id, jws):
        seq = int(record_id.split("-")[1])
        if self.records.setdefault(seq, jws) != jws:
            raise AssertionError("seq %d was signed twice" % seq)
        return hexlify(sha256(jws).digest()).decode()


class World:
    """What power cuts leave alone: the meter, the backend, and what was promised."""

    def __init__(self):
        self.backend = Backend()
        self.register_wh = 0
        self.started = 0  # sessions whose START returned
        self.maybe = 0  # STARTs that were cut: the session may be there or not


def _encode(data):
    return b2a_base64(data)[:-1].replace(b"+", b"-").replace(b"/", b"_").rstrip(b"=")


def _sign(journal, start_wh, end_wh):
    seq, prev, page = journal.chain()
    payload = b'{"id":"C-%d","seq":%d,"prev":"%s","start_wh":%d,"end_wh":%d,"page":%d,"pad":"' % (
        seq, seq, prev.encode(), start_wh, end_wh, page,
    )  # fmt: skip
    payload += b"abcdefgh" * 60 + b'"}'
    signature = sha256(payload).digest() * 2
    return "C-%d" % seq, b".".join((_HEADER, _encode(payload), _encode(signature)))


def _finish(world, journal, outbox):
    """Ends the session that is open, as a boot or a stop does."""
    start, checkpoint, stop = journal.open_session()
    end_wh = int(stop or checkpoint or start)
    if stop is None:
        end_wh = max(end_wh, world.register_wh)
        journal.append(STOP, b"%d" % end_wh)
    outbox.put(*_sign(journal, int(start), end_wh))


def _deliver(world, outbox, now_ms):
    while True:
        item = outbox.next_to_send(now_ms, 2)
        if item is None:
            return
        outbox.sent(item[0], now_ms)
        outbox.confirm(item[0], world.backend.take(*item))


def _boot(world):
    store = FlashStore("/f/journal")
    journal = Journal(store, segment_bytes=_SEGMENT_BYTES, reserve_bytes=8192)
    for what, _ in journal.damage:
        assert what == "torn", what
    journal.append(BOOT, b"")
    outbox = Outbox(journal)
    if journal.open_session() is not None:
        _finish(world, journal, outbox)
    return journal, outbox


def _sessions(world, n, journal, outbox):
    while world.started < n:
        world.maybe += 1
        journal.append(START, b"%d" % world.register_wh)
        world.maybe -= 1
        world.started += 1
        for _ in range(_CHECKPOINTS):
            world.register_wh += _STEP_WH
            journal.append(CHECKPOINT, b"%d" % world.register_wh)
        _finish(world, journal, outbox)
        if world.started % 3 != 2:  # now and then the link is down for a session
            _deliver(world, outbox, 0)
    _deliver(world, outbox, 0)


def _life(world, flash, n):
    """One boot and what follows, until the power goes or all is done. Whether all is done."""
    try:
        ramflash.mount(flash)
        journal, outbox = _boot(world)
        _sessions(world, n, journal, outbox)
        return True
    except (OSError, JournalError):
        if not flash.dead:
            raise
        return False


def _check(world):
    """Every session whose START returned has exactly one record, the chain is whole, and energy is
    the meter's. Returns how many records there are, and how many of them are of no energy."""
    prev = "0" * 64
    at_wh = 0
    pages = []
    empty = 0
    records = world.backend.records
    for seq in range(1, len(records) + 1):
        assert seq in records, "a hole at %d" % seq
        payload = _decode(records[seq].split(b".")[1])
        field = lambda key: int(payload.split(b'"%s":' % key)[1].split(b",")[0])  # noqa: B023,E731
        assert payload.split(b'"prev":"')[1][:64].decode() == prev, "the chain breaks at %d" % seq
        assert field(b"start_wh") == at_wh, "energy lost or doubled before %d" % seq
        empty += field(b"end_wh") == at_wh
        at_wh = field(b"end_wh")
        pages.append(field(b"page"))
        prev = hexlify(sha256(records[seq]).digest()).decode()
    assert at_wh == world.register_wh, "energy %d of %d" % (at_wh, world.register_wh)
    assert pages == list(range(1, len(pages) + 1)), "pagination %s" % pages
    return len(records), empty


def _decode(text):
    from binascii import a2b_base64

    return a2b_base64(text.replace(b"-", b"+").replace(b"_", b"/") + b"==="[: -len(text) % 4])


def _case(image, flash, n, left, how, second):
    """Returns how many records of the `n` sessions there are; None when there is no such write."""
    flash.data[:] = image
    world = World()
    flash = flash.after_power_cut()
    flash.cut(left, how)
    if _life(world, flash, n):
        return None
    if second >= 0:
        flash = flash.after_power_cut()
        flash.cut(second, how)
        _life(world, flash, n)
    flash = flash.after_power_cut()
    if not _life(world, flash, n):
        raise AssertionError("no end")
    found, empty = _check(world)
    # A START that was cut may be durable all the same: then a boot makes its record, of 0 Wh.
    assert empty <= world.maybe, (empty, world.maybe)
    return found - empty


def main(blocks, sessions, stride, seed, second_every):
    flash = ramflash.Flash(blocks)
    ramflash.mount(flash, make=True)
    image = bytes(flash.data)
    cases = expected = found = 0
    left = seed % stride
    while True:
        for how in (ramflash.NOTHING, ramflash.HALF, ramflash.GARBLED):
            second = -1
            if second_every and (cases + seed) % second_every == 0:
                second = (cases * 7 + seed) % 40
            result = _case(image, flash, sessions, left, how, second)
            if result is None:
                print(cases, expected, found, max(0, expected - found), max(0, found - expected))
                return
            cases += 1
            found += result
            expected += sessions
        left += stride


if __name__ == "__main__":
    main(*[int(word) for word in sys.argv[1:]])
