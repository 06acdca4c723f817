"""Figures on flash for `make bench`: how long it lasts, and what a full partition costs to open.

Both on MicroPython with its real LittleFS over a partition of 2 MB; erases are counted by the block
device itself. The journal gets frames of a usual session's sizes."""

import tempfile
from pathlib import Path

from evtill.app.config import KEYS
from tillsim import on_board

BLOCKS = 512
WAITING = 1000
ENDURANCE = 100_000  # erases of a block; datasheets of SPI NOR flash (W25Q32JV, section 1)
SESSIONS_A_DAY = 30
GOAL_YEARS = 20
_DAY_S = 86400

# Arguments: sessions, checkpoints in each, blocks. Prints erases in all and of the block erased
# most. The sizes are those of `make demo`'s journal, rounded up.
_WEAR = """
import sys, vfs
from binascii import hexlify
from hashlib import sha256

class Flash:
    def __init__(self, blocks):
        self.data = bytearray(blocks * 4096)
        self.erases = [0] * blocks

    def readblocks(self, block, buf, offset=0):
        start = block * 4096 + offset
        buf[:] = memoryview(self.data)[start : start + len(buf)]

    def writeblocks(self, block, buf, offset=0):
        start = block * 4096 + offset
        self.data[start : start + len(buf)] = buf

    def ioctl(self, op, arg):
        if op == 4:
            return len(self.erases)
        if op == 5:
            return 4096
        if op == 6:
            self.erases[arg] += 1
            return 0

def open_all():
    global journal, ring
    vfs.mount(vfs.VfsLfs2(flash), "/f")
    journal = Journal(FlashStore("/f/journal"))
    ring = EventRing(FlashStore("/f/events"))

def tell(now_ms):
    ring.put("DE*EVT*E000123-e1-1", b"e" * 150, now_ms)
    ring.confirm(*ring_item(now_ms))

def ring_item(now_ms):
    name, payload = ring.next_to_send(now_ms)
    ring.sent(name, now_ms)
    return name, hexlify(sha256(payload).digest()).decode()

from evtill.app.flash_store import FlashStore
from evtill.core.event_ring import EventRing
from evtill.core.journal import CHECKPOINT, START, STOP, Journal

sessions, checkpoints, blocks = [int(word) for word in sys.argv[1:]]
flash = Flash(blocks)
vfs.VfsLfs2.mkfs(flash)
open_all()
with open("/f/artefacts", "wb") as file:  # tokens, tariff, configuration: they stay where they are
    for _ in range(60):
        file.write(bytes(4096))
flash.erases = [0] * blocks
for n in range(sessions):
    if n % 30 == 0:  # LittleFS starts its allocation elsewhere at each mount
        vfs.umount("/f")
        open_all()
    journal.append(START, b"s" * 450)
    tell(n * 100000)
    for _ in range(checkpoints):
        journal.append(CHECKPOINT, b"c" * 200)
    journal.append(STOP, b"t" * 300)
    journal.put_record("C-%d" % (n + 1), b"r" * 900)
    tell(n * 100000 + 50000)
    journal.done(n + 1)
    journal.save()
print(sum(flash.erases), max(flash.erases))
"""

# Arguments: `fill` or `open`, the image's path, records, blocks. The block device is a file of the
# PC, so that the flash takes no heap. `open` prints what opening and sending cost.
_FULL = """
import gc, sys, time, vfs
from binascii import b2a_base64, hexlify
from hashlib import sha256

what, path, n, blocks = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

class Image:  # nothing here allocates
    def __init__(self, path):
        self.file = open(path, "r+b")

    def readblocks(self, block, buf, offset=0):
        self.file.seek(block * 4096 + offset)
        self.file.readinto(buf)

    def writeblocks(self, block, buf, offset=0):
        self.file.seek(block * 4096 + offset)
        self.file.write(buf)

    def ioctl(self, op, arg):
        return blocks if op == 4 else 4096 if op == 5 else 0

def encode(data):
    return b2a_base64(data)[:-1].replace(b"+", b"-").replace(b"/", b"_").rstrip(b"=")

def jws_of(seq):  # 1.2 kB of payload that no word shortens
    payload = b'{"id":"C-%d","seq":%d,"pad":"' % (seq, seq) + b"%08d-abcdefg" % seq * 69 + b'"}'
    signature = sha256(payload).digest() * 2
    return b".".join((b"eyJhbGciOiJFUzI1NiJ9" * 6, encode(payload), encode(signature)))

def fill():
    journal = Journal(FlashStore("/f/journal"))
    outbox = Outbox(journal)
    for seq in range(1, n + 1):
        if seq % 50 == 0 and not journal.room():
            raise SystemExit("full after %d" % (seq - 1))
        for kind in (START, CHECKPOINT, STOP):
            journal.append(kind, b"x" * 250)
        outbox.put("C-%d" % seq, jws_of(seq))
    free = FlashStore("/f/journal").free_bytes()
    print((blocks * 4096 - free) // n, journal.used_pct())

def opens_in(spare):  # with so much in one piece, and nothing else free in the heap
    hoard = None
    gc.collect()
    piece = bytearray(spare)
    try:
        while True:
            hoard = [hoard, None]
    except MemoryError:
        piece = None
    try:
        Journal(FlashStore("/f/journal"))
        return True
    except MemoryError:
        return False

def reopen():
    gc.collect()
    idle = gc.mem_alloc()
    begun = time.ticks_ms()
    journal = Journal(FlashStore("/f/journal"))
    outbox = Outbox(journal)
    opened_ms = time.ticks_diff(time.ticks_ms(), begun)
    gc.collect()
    held = gc.mem_alloc() - idle
    needs = 1024
    while not opens_in(needs):
        needs += 512
    begun = time.ticks_ms()
    sent = sending = 0
    while outbox.waiting():
        item = outbox.next_to_send(0)
        outbox.sent(item[0], 0)
        if item[0] != "C-%d" % (sent + 1) or item[1] != jws_of(sent + 1):
            raise SystemExit("not the next record: " + item[0])
        outbox.confirm(item[0], hexlify(sha256(item[1]).digest()).decode())
        sent += 1
        item = None
        if sent % 50 == 0:
            gc.collect()
            sending = max(sending, gc.mem_alloc() - idle)
    print(held, needs, opened_ms, sent, time.ticks_diff(time.ticks_ms(), begun), sending)

image = Image(path)
if what == "fill":
    vfs.VfsLfs2.mkfs(image)
vfs.mount(vfs.VfsLfs2(image), "/f")
from evtill.app.flash_store import FlashStore
from evtill.core.journal import CHECKPOINT, START, STOP, Journal
from evtill.core.outbox import Outbox
fill() if what == "fill" else reopen()
"""


def wear(sessions: int, checkpoints: int) -> tuple[float, float]:
    """(erases a session, years until the block erased most has had ENDURANCE of them)."""
    said = on_board.run(_WEAR, str(sessions), str(checkpoints), str(BLOCKS), bits=64, heap="16M",
                        timeout_s=900)  # fmt: skip
    erases, most = map(int, said.split())
    return erases / sessions, ENDURANCE * sessions / (most * SESSIONS_A_DAY * 365)


def checkpoints_a_session() -> int:
    """With the configuration's default interval, and the car charging day and night."""
    return _DAY_S // (SESSIONS_A_DAY * int(str(KEYS["checkpoint_s"][1])))


def fill(image: Path) -> tuple[int, int]:
    """Leaves a partition with WAITING records in `image`. (bytes of flash a record, used_pct)."""
    image.write_bytes(b"\xff" * (BLOCKS * 4096))
    said = on_board.run(_FULL, "fill", str(image), str(WAITING), str(BLOCKS), heap="2M")
    flash_bytes, pct = map(int, said.split())
    return flash_bytes, pct


def reopen(image: Path) -> dict[str, int]:
    """What that partition costs in a board's heap: bytes `held` once open, free bytes that opening
    `needs`, `open_ms`, records `sent`, `sent_ms`, and bytes `sending` at most."""
    said = on_board.run(_FULL, "open", str(image), str(WAITING), str(BLOCKS))
    names = ("held", "needs", "open_ms", "sent", "sent_ms", "sending")
    return dict(zip(names, map(int, said.split()), strict=True))


def lines() -> list[str]:
    """Printable figures."""
    said = []
    whole_days = checkpoints_a_session()
    for checkpoints, words in ((12, "of 12 checkpoints"), (whole_days, "that fill the day")):
        erases, years = wear(1500, checkpoints)
        said.append(
            f"wear: {SESSIONS_A_DAY} sessions a day {words} ({checkpoints} checkpoints each): "
            f"{erases:.0f} erases a session, {years:.0f} years (goal {GOAL_YEARS})"
        )
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "flash.img"
        flash_bytes, pct = fill(image)
        cost = reopen(image)
    said += [
        f"{WAITING} waiting records on {BLOCKS * 4} kB: {flash_bytes} bytes of flash each, {pct} %",
        f"  opened in {cost['open_ms']} ms with {cost['needs']} bytes of heap free (goal 8192), "
        f"{cost['held']} held",
        f"  all sent in {cost['sent_ms']} ms, {cost['sending']} bytes held",
    ]
    return said


if __name__ == "__main__":
    print("\n".join(lines()))
