"""Figures on token lists for `make bench`: 100,000 tokens, beside sqlite3 with an index."""

import os
import random
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from evtill.core import tokens
from tillctl.runner import token_runner
from tillctl.token_list import Token, build
from tillctl.tokens_cli import lookup
from tillsim import on_board

_N = 100000
_KEY = bytes(range(32))
_DAY = 86400
_LOOKUPS = 200
# On a LittleFS in RAM: what the file system itself reads is counted too.
_PROGRAM = """
import gc, sys, time
import ramflash
from evtill.app.token_store import TokenStore
from evtill.core.tokens import stamp
flash = ramflash.Flash(330)
ramflash.mount(flash, make=True)
with open(sys.argv[1], "rb") as source, open("/f/tokens.bin", "wb") as file:
    while True:
        piece = source.read(4096)
        if not piece:
            break
        file.write(piece)
    file.write(stamp(1, bytes(32)))
calls = [0, 0]
read = flash.readblocks
def counted(block, buf, offset=0):
    calls[0] += 1
    calls[1] += len(buf)
    return read(block, buf, offset)
flash.readblocks = counted
ramflash.mount(flash)
key = bytes(range(32))
before = time.ticks_us()
store = TokenStore("/f", key)
opening = time.ticks_diff(time.ticks_us(), before)
calls[:] = 0, 0
asked = [bytes.fromhex(line.strip()) for line in open(sys.argv[2])]
before = time.ticks_us()
for token in asked:
    store.find(token)
took = time.ticks_diff(time.ticks_us(), before)
print(opening, took, calls[0], calls[1])
"""


def cards() -> dict[bytes, Token]:
    """As an operator might have them: groups, a few years of expiry dates, some ceilings."""
    chance = random.Random(1)
    return {
        chance.randbytes(7): Token(
            f"fleet-{chance.randrange(300)}", chance.choice((0, 0, 0, tokens.BLOCKED)),
            1800000000 + chance.randrange(800) * _DAY, chance.choice((None, 2000, 5000)),
        ) for _ in range(_N)
    }  # fmt: skip


def lines() -> list[str]:
    """Printable figures, one a line."""
    known = cards()
    asked = random.Random(2).sample(sorted(known), _LOOKUPS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path = folder / "tokens.bin"
        path.write_bytes(build(known, _KEY).encode())
        said = lookup(path, 0, _KEY, asked[0], "micropython32")
        reads = [
            token_runner.lookup(path, 0, _KEY, uid, lambda: 0)["flash_reads"] for uid in asked
        ]
        uids = folder / "tokens"
        uids.write_text("\n".join(tokens.token_of(_KEY, uid).hex() for uid in asked))
        folders = (Path(__file__).parents[2] / "host_tests" / "on_micropython",)
        opening, took, calls, read_bytes = map(int, on_board.run(
            _PROGRAM, str(path), str(uids), bits=64, heap="8M", folders=folders
        ).split())  # fmt: skip
        database, theirs_us = _sqlite(folder / "tokens.sqlite", known, asked)
        size = path.stat().st_size
        return [
            f"list of {_N:,}: {size:,} B ({size / _N:.2f} B a token); sqlite3 {database:,} B",
            f"look-up: {statistics.mean(reads):.1f} reads, at most {max(reads)}; heap on 32-bit "
            f"{said['heap_bytes']} B, garbage included",
            f"look-up on MicroPython (64-bit) and LittleFS: {took / _LOOKUPS:.0f} us on this PC, "
            f"{calls / _LOOKUPS:.0f} block reads of {read_bytes / calls:.0f} B; sqlite3 on "
            f"CPython {theirs_us:.0f} us",
            f"opening it at boot: {opening / 1000:.2f} ms on this PC, whatever its size",
        ]


def _sqlite(path: Path, known: dict[bytes, Token], asked: list[bytes]) -> tuple[int, float]:
    """Bytes of a database of the same, and us for the look-up of one token in it."""
    with sqlite3.connect(path) as db:
        db.execute("create table t (token blob primary key, grp, flags, expires, ceiling) "
                   "without rowid")  # fmt: skip
        db.executemany("insert into t values (?, ?, ?, ?, ?)", (
            (tokens.token_of(_KEY, uid), t.group, t.flags, t.expires, t.ceiling)
            for uid, t in known.items()
        ))  # fmt: skip
    wanted = [tokens.token_of(_KEY, uid) for uid in asked]
    began = time.perf_counter()
    for token in wanted:
        assert db.execute("select * from t where token = ?", (token,)).fetchone()
    took = time.perf_counter() - began
    db.close()
    return os.stat(path).st_size, took * 1e6 / len(asked)
