"""Looks one card up in a token list: the part of `tokens lookup` that also runs on MicroPython.
Standard input: the file, where in it the list begins, the key and the UID in hex, a line each;
output: what was found, and what it cost, as JSON."""

import gc
import json
import sys

from evtill.core import tokens
from evtill.core.errors import EvtillError


def lookup(path, base, key, uid, heap):
    """{found, group, flags (bits), expires, ceiling, flash_reads, heap_bytes}; heap() -> bytes
    allocated. Counted are reads and heap of the look-up in a list that is open, as a charger's
    is since its boot; with whatever is garbage by the end."""
    token = tokens.token_of(key, uid)
    with open(path, "rb") as file:
        reads = [0]

        def read_at(offset, n):
            reads[0] += 1
            file.seek(base + offset)
            return file.read(n)

        listed = tokens.TokenList(read_at, key)
        opened = reads[0]
        before = heap()
        found = listed.find(token)
        used = heap() - before
        cost = {"flash_reads": reads[0] - opened, "heap_bytes": used}
    group, flags, expires, ceiling = found or (None, 0, None, None)
    return dict(cost, found=found is not None, group=group, flags=flags, expires=expires,
                ceiling=ceiling)  # fmt: skip


def main():
    path, base, key, uid = [sys.stdin.readline().strip() for _ in range(4)]
    gc.collect()
    gc.disable()
    try:
        said = lookup(path, int(base), bytes.fromhex(key), bytes.fromhex(uid), gc.mem_alloc)  # type: ignore[attr-defined]
    except (EvtillError, OSError) as e:
        said = {"error": str(e)}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
