"""1,000 waiting records on a 2 MB partition, on the heap of a board.

Arguments: `fill` or `open`, the image's path. The block device is a file of the PC, so that the
flash takes no heap. `open` prints what opening and sending cost in heap and time."""

import gc
import sys
import time
from binascii import b2a_base64, hexlify
from hashlib import sha256

import vfs

_BLOCKS = 512
N = 1000


class Image:
    """A file as flash; nothing here allocates."""

    def __init__(self, path):
        self._file = open(path, "r+b")
        self.erases = 0

    def readblocks(self, block, buf, offset=0):
        self._file.seek(block * 4096 + offset)
        self._file.readinto(buf)

    def writeblocks(self, block, buf, offset=0):
        self._file.seek(block * 4096 + offset)
        self._file.write(buf)

    def ioctl(self, op, arg):
        if op == 4:
            return _BLOCKS
        if op == 5:
            return 4096
        if op == 6:
            self.erases += 1
            return 0


def main(what, path):
    image = Image(path)
    if what == "fill":
        vfs.VfsLfs2.mkfs(image)
    vfs.mount(vfs.VfsLfs2(image), "/f")
    from evtill.app.flash_store import FlashStore
    from evtill.core.journal import CHECKPOINT, START, STOP, Journal
    from evtill.core.outbox import Outbox

    if what == "fill":
        fill(FlashStore, Journal, Outbox, (START, CHECKPOINT, STOP))
        return
    gc.collect()
    idle = gc.mem_alloc()
    begun = time.ticks_ms()
    journal = Journal(FlashStore("/f/journal"))
    outbox = Outbox(journal)
    opened_ms = time.ticks_diff(time.ticks_ms(), begun)
    gc.collect()
    held = gc.mem_alloc() - idle
    peak = highest(lambda: Journal(FlashStore("/f/journal")))
    assert outbox.waiting() == N, outbox.waiting()
    begun = time.ticks_ms()
    sent = peak_send = 0
    while outbox.waiting():
        item = outbox.next_to_send(0)
        outbox.sent(item[0], 0)
        assert item[0] == "C-%d" % (sent + 1) and item[1] == jws_of(sent + 1), item[0]
        outbox.confirm(item[0], hexlify(sha256(item[1]).digest()).decode())
        sent += 1
        item = None
        if sent % 50 == 0:
            gc.collect()
            peak_send = max(peak_send, gc.mem_alloc() - idle)
    sent_ms = time.ticks_diff(time.ticks_ms(), begun)
    print(held, peak, opened_ms, sent, sent_ms, peak_send, journal.used_pct())


def highest(job):
    """Bytes of heap that `job` touches at most, without a collection in between, over now."""
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    try:
        job()
        return gc.mem_alloc() - before
    finally:
        gc.enable()


def jws_of(seq):
    def encode(data):
        return b2a_base64(data)[:-1].replace(b"+", b"-").replace(b"/", b"_").rstrip(b"=")

    # 1.2 kB that no word shortens.
    payload = b'{"id":"C-%d","seq":%d,"pad":"' % (seq, seq) + b"%08d-abcdefg" % seq * 69 + b'"}'
    signature = sha256(payload).digest() * 2
    return b".".join((b"eyJhbGciOiJFUzI1NiJ9" * 6, encode(payload), encode(signature)))


def fill(FlashStore, Journal, Outbox, kinds):
    journal = Journal(FlashStore("/f/journal"))
    outbox = Outbox(journal)
    for seq in range(1, N + 1):
        if seq % 50 == 0:
            assert journal.room(), "full after %d" % (seq - 1)
        for kind in kinds:
            journal.append(kind, b"x" * 250)
        outbox.put("C-%d" % seq, jws_of(seq))
    free = FlashStore("/f/journal").free_bytes()
    print((_BLOCKS * 4096 - free) // N, journal.used_pct(), len(jws_of(N)))


main(*sys.argv[1:])
