"""From a card to the contactor: how long on this PC, and what a card's proof costs of the heap."""

import random
import tempfile
from pathlib import Path

from evtill.core import ev2
from evtill.core.tokens import anonymous
from tillctl import provision
from tillctl.card_aes import aes
from tillsim import on_board, play
from tillsim.board import BLOCK, PARTITIONS
from tillsim.card_sim import AID, SYSTEM, AesCard
from tillsim.charger import COIL_PIN
from tillsim.scenario import Scenario, Step, load

UID = bytes.fromhex("04A2243B6C5E80")
MASTER = bytes(range(16))
SEED = b"fresh entropy, the same each run"
TOKENS = 100_000
SCENARIO = Path(__file__).parent / "demo" / "scenario.toml"

_PROVE = """
import gc, time
import evtill.core.tokens  # which every charger has loaded
gc.collect()
before = gc.mem_alloc()
from cryptolib import aes
from evtill.core import ev2
gc.collect()
code = gc.mem_alloc() - before
def prove():
    dialogue = ev2.prove(aes, %(master)r, %(aid)r, %(system)r, %(shown)r, lambda n: %(seed)r[:n])
    reply = None
    i = 0
    try:
        while True:
            dialogue.send(reply)
            reply = %(replies)r[i]
            i += 1
    except StopIteration as end:
        return end.value
assert prove() == %(uid)r
gc.collect()
gc.threshold(-1)
before = gc.mem_alloc()
prove()
garbage = gc.mem_alloc() - before
gc.collect()
kept = gc.mem_alloc() - before
began = time.ticks_us()
for i in range(%(rounds)d):
    prove()
print(time.ticks_diff(time.ticks_us(), began) / 1000 / %(rounds)d, code, garbage, kept)
"""
# A megabyte takes minutes over a serial port, so it goes into the flash image by itself.
_PUT = """
import sys, vfs
image, start, blocks, source, name = sys.argv[1:]
class Flash:
    def __init__(self):
        self.file = open(image, "r+b")
    def _at(self, block, offset=0):
        self.file.seek((int(start) + block) * %(block)d + offset)
        return self.file
    def readblocks(self, block, buf, offset=0):
        self._at(block, offset).readinto(buf)
    def writeblocks(self, block, buf, offset=0):
        self._at(block, offset).write(buf)
    def ioctl(self, op, arg):
        return {4: int(blocks), 5: %(block)d}.get(op, 0)
flash = Flash()
vfs.mount(vfs.VfsLfs2(flash), "/f")
with open(source, "rb") as given, open("/f/" + name, "wb") as file:
    while True:
        piece = given.read(4096)
        if not piece:
            break
        file.write(piece)
vfs.umount("/f")
flash.file.close()
"""


def lines() -> list[str]:
    """Printable figures."""
    out = []
    for hidden in (False, True):
        name = "random UID, two authentications" if hidden else "one authentication"
        ms, *_ = proof(hidden, 64)
        ms32, code, garbage, kept = proof(hidden, 32)
        out.append(f"AES proof, own computing, {name}: {ms:.2f} ms (32-bit {ms32:.2f})")
    out.append(f"  heap on 32-bit: {code} bytes of code once loaded; a proof takes {garbage}, "
               f"all but {kept} of it garbage")  # fmt: skip
    for card in ("uid", "desfire"):
        out.append(
            f"from the card's last byte to the contactor's command, {card}, {TOKENS:,} tokens: "
            f"{tap_ms(card)} ms, the meter's wire (9600 baud) included"
        )
    return out


def recorded(hidden: bool) -> tuple[bytes, list[bytes]]:
    """(UID as shown, the R-APDUs) of a proof whose randomness is SEED's."""
    card = AesCard("ntag424", UID, random.Random(1).randbytes).issue(MASTER)
    card.random_id = hidden
    card.field_off()
    shown = card.shown()
    assert anonymous(shown) is hidden
    dialogue = ev2.prove(aes, MASTER, AID, SYSTEM, shown, lambda n: SEED[:n])
    reply = None
    replies: list[bytes] = []
    while True:
        try:
            reply = card.apdu(dialogue.send(reply))
        except StopIteration:
            return shown, replies
        replies.append(reply)


def proof(hidden: bool, bits: int, rounds: int = 500) -> tuple[float, int, int, int]:
    """(ms of computing, bytes of code, bytes used by one proof before collection, bytes kept)."""
    shown, replies = recorded(hidden)
    code = _PROVE % {
        "master": MASTER, "aid": AID, "system": SYSTEM, "shown": shown, "seed": SEED,
        "replies": replies, "uid": UID, "rounds": rounds,
    }  # fmt: skip
    ms, *sizes = on_board.run(code, bits=bits, heap="112k" if bits == 32 else "1M").split()
    return (float(ms), *map(int, sizes))  # type: ignore[return-value]


def tap_ms(card: str, tokens: int = TOKENS) -> int:
    """Milliseconds of real time from the reader's last answer about the card to the contactor's
    command: look-up, readings, the durable start."""
    config = {"card_key": MASTER.hex()} if card != "uid" else {}
    base = load(SCENARIO)
    scenario = Scenario(base.start_ms, base.timezone, base.tariff, [UID.hex()], config, [
        Step(2000, "plug", {"kw": 11.0}),
        Step(5000, "tap", {"uid": UID.hex(), **({} if card == "uid" else {"card": card})}),
        Step(8000, "end", {}),
    ])  # fmt: skip
    with play.playing(scenario, real_time=True, bits=64) as playing:
        charger = playing.charger
        charger.card_key = MASTER
        put_tokens(charger.board.image, bytes.fromhex(playing.registration["token_key"]), tokens)
        told: list[int] = []
        closed: list[int] = []
        feed, on_pin = charger.reader.feed, charger.kernel.on_pin

        def heard(data: bytes) -> bytes:
            said = feed(data)
            if len(said) > 12 and charger.reader.card and not closed:
                told.append(charger.kernel.now_ms)
            return said

        def pin(number: int, level: int) -> None:
            if number == COIL_PIN and level and not closed:
                closed.append(charger.kernel.now_ms)
            on_pin(number, level)

        charger.reader.feed = heard  # type: ignore[method-assign]
        charger.kernel.on_pin = pin
        playing.run()
    before = [ms for ms in told if ms <= closed[0]]
    return closed[0] - before[-1]


def put_tokens(image: Path, key: bytes, n: int) -> None:
    """Gives a charger that is switched off a list of `n` tokens, UID among them."""
    rng = random.Random(2)
    listed = [UID.hex(), *(rng.randbytes(7).hex() for _ in range(n - 1))]
    start, blocks = PARTITIONS["data"]
    with tempfile.NamedTemporaryFile() as file:
        file.write(provision.token_file(key, listed))
        file.flush()
        on_board.run(_PUT % {"block": BLOCK}, str(image), str(start), str(blocks), file.name,
                     "tokens.bin", bits=64, heap="4M")  # fmt: skip
