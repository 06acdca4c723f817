"""How long a file may take: the rest of fetching is in host_tests/e2e/test_set_tokens.py."""

import hashlib

import pytest

from host_tests.micropython import run

CODE = """
import asyncio, sys
from evtill.app.token_fetch import take
from evtill.core.errors import LinkError

size = int(sys.argv[4])

class Intake:
    size = 0
    def make_sure_of_room(self, n):
        assert n == size
    def write(self, piece):
        self.size += len(piece)

class Socket:
    # A byte comes after so many looks of 200 ms each.
    now = looks = 0
    def close(self):
        print("closed", end=" ")
    def look(self):
        self.now += 200
        self.looks = (self.looks + 1) % int(sys.argv[1])
        return None if self.looks else 1

class App:
    state = "available",
    async def call(self, fn, sock, buf):
        n = sock.look()
        if sock.now == int(sys.argv[2]):
            self.state = sys.argv[3],
        return n
    def now_ms(self):
        return sock.now

sock = Socket()
intake = Intake()
app = App()
app.uplink = app.worker = app.clock = app.charge_point = app
try:
    print(asyncio.run(take(app, intake, (sock, b"", size), bytearray(9))), intake.size)
except LinkError as e:
    print(e, sock.now, intake.size)
"""


@pytest.mark.parametrize(
    ("looks", "at_ms", "state", "size", "said"),
    [
        (200, 0, "", 10000, "https: nothing came for 30 s 30200 0"),  # between two bytes
        (100, 0, "", 10000, "https: not whole after 1800 s 1800200 90"),
        (1, 1000, "finishing", 10000, "a driver came first: send it again 1000 5"),
        (1, 1000, "charging", 9, hashlib.sha256(bytes(9)).hexdigest() + " 9"),
    ],
)
def test_who_trickles_is_given_up_and_a_driver_comes_first(looks, at_ms, state, size, said):
    answer = run(CODE, str(looks), str(at_ms), state, str(size), bits=64, heap="1M")
    assert answer.strip() == "closed " + said
