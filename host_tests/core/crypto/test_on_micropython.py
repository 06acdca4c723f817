"""The same vectors on the real interpreter, with 32-bit and 64-bit objects."""

import pytest

from host_tests.core.crypto.common import ROOT, VECTORS
from host_tests.micropython import run

TABLE = str(ROOT / "firmware/evtill/core/crypto/p256.tab")
HEAPS = {32: "112k", 64: "256k"}  # the board's, and twice as much for objects twice as wide


@pytest.mark.parametrize("bits", [32, 64])
def test_vectors(bits):
    said = run("import check_crypto", str(VECTORS), TABLE, bits=bits, heap=HEAPS[bits])
    assert said.split() == ["ok", "484"]


SMALL = """
import gc, hashlib, sys
import evtill.core.errors
gc.collect()
before = gc.mem_alloc()
from evtill.core.crypto.p256 import P256, FileTable
p256 = P256(FileTable(open(sys.argv[1], "rb")))
gc.collect()
live = gc.mem_alloc() - before
q = p256.public_key(7)
r, s = p256.sign(7, bytes(32), b"entropy")
assert p256.verify(q, bytes(32), r, s) and not p256.verify(q, bytes(32), r, s ^ 1)
gc.collect()
print(live, gc.mem_alloc() - before)
"""


def test_signs_and_verifies_in_a_heap_of_32_kb():
    live, with_a_known_key = (int(word) for word in run(SMALL, TABLE, heap="32k").split())
    assert live < with_a_known_key <= 18 * 1024
