"""SNTP: the codec under CPython, the query against a server of our own."""

import datetime
import socket
import struct
import threading
import time

import pytest

from evtill.core.errors import ClockError
from evtill.net import clock_sync
from host_tests.net.board import board

COOKIE = b"\x01\x02\x03\x04\x05\x06\x07\x08"


def ntp(when):
    """64-bit NTP timestamp of a datetime, by the calendar (RFC 5905, section 6)."""
    era_0 = datetime.datetime(1900, 1, 1, tzinfo=datetime.UTC)
    delta = when - era_0
    seconds = delta.days * 86400 + delta.seconds
    return struct.pack("!II", seconds % 2**32, (delta.microseconds << 32) // 1000000)


def reply(sent=None, cookie=COOKIE, first=0x24, stratum=2, received=None, delay=0, dispersion=0,
          reference=b"\x0a\x00\x00\x01"):  # fmt: skip
    sent = sent or datetime.datetime(2026, 3, 2, 7, 14, 5, 250000, datetime.UTC)
    body = struct.pack("!BBbb", first, stratum, 6, -20) + struct.pack("!II", delay, dispersion)
    return body + reference + bytes(8) + cookie + ntp(received or sent) + ntp(sent)


@pytest.mark.parametrize(
    "when",
    [
        datetime.datetime(2026, 3, 2, 7, 14, 5, 250000, datetime.UTC),
        datetime.datetime(2036, 2, 7, 6, 28, 15, 0, datetime.UTC),  # era 0's last second
        datetime.datetime(2036, 2, 7, 6, 28, 16, 500000, datetime.UTC),
        datetime.datetime(2060, 1, 1, tzinfo=datetime.UTC),
    ],
)
def test_times_on_both_sides_of_the_eras_border(when):
    assert clock_sync.parse(reply(when), COOKIE) == pytest.approx(when.timestamp() * 1000, abs=1)


def test_request_is_a_version_4_client_with_nothing_but_the_cookie():
    sent = clock_sync.request(COOKIE)
    assert len(sent) == 48
    assert sent == b"\x23" + bytes(39) + COOKIE


OK = reply()
EARLIER = datetime.datetime(2026, 3, 2, 7, 14, 5, 240000, datetime.UTC)
LATER = datetime.datetime(2026, 3, 2, 7, 14, 5, 260000, datetime.UTC)


def test_versions_3_and_4_and_a_longer_reply_are_taken():
    at = clock_sync.parse(OK, COOKIE)
    assert clock_sync.parse(reply(first=0x1C), COOKIE) == at
    assert clock_sync.parse(OK + bytes(20), COOKIE) == at
    assert clock_sync.parse(memoryview(OK), COOKIE) == at
    assert clock_sync.parse(reply(received=EARLIER, stratum=15, delay=0xFFFF), COOKIE) == at


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (OK[:47], "47 bytes"),
        (b"", "0 bytes"),
        (reply(cookie=bytes(8)), "another request"),
        (reply(first=0x23), "mode or version"),  # a client's
        (reply(first=0x25), "mode or version"),  # broadcast
        (reply(first=0x14), "mode or version"),  # version 2
        (reply(first=0x2C), "mode or version"),  # version 5
        (reply(first=0xE4), "not synchronised"),  # leap indicator 3
        (reply(stratum=0, reference=b"RATE"), "kiss of death RATE"),
        (reply(stratum=0, reference=b"\n\x00\xffX"), "kiss of death X"),
        (reply(stratum=16), "not synchronised"),
        (reply(delay=0x10000), "too far"),
        (reply(dispersion=0x10000), "too far"),
        (reply(delay=0xFFFF0000), "too far"),  # negative
        (OK[:40] + bytes(8), "no transmit time"),
        (reply(received=LATER), "no transmit time"),
    ],
)
def test_every_field_is_checked(bad, reason):
    with pytest.raises(ClockError, match=reason):
        clock_sync.parse(bad, COOKIE)


def test_every_single_flipped_bit_is_refused_or_stays_a_plausible_time():
    at = clock_sync.parse(OK, COOKIE)
    refused = 0
    for bit in range(48 * 8):
        data = bytearray(OK)
        data[bit // 8] ^= 1 << bit % 8
        try:
            got = clock_sync.parse(bytes(data), COOKIE)
        except ClockError:
            refused += 1
            continue
        field = bit // 64 * 8
        assert got == at or field == 40, f"bit {bit} changed the time unnoticed"
    assert refused > 64 + 32  # the cookie, and the high bits of delay and dispersion


class Server:
    """One answer a request: change(request) -> bytes, or None for silence."""

    def __init__(self, change, delay_s=0.0):
        self.requests = []
        self._change, self._delay_s = change, delay_s
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(type=socket.SOCK_DGRAM) as s:
            s.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._socket.close()

    def _serve(self):
        while True:
            data, sender = self._socket.recvfrom(512)
            if not data:
                return
            self.requests.append(data)
            time.sleep(self._delay_s)
            self._socket.sendto(self._change(data), sender)


BOARD = """
from evtill.core.errors import ClockError
from evtill.net import clock_sync
try:
    print(await Worker().call(clock_sync.query, "127.0.0.1", PORT, 3))
except ClockError as e:
    print(e)
"""


@pytest.mark.parametrize("bits", [32, 64])
def test_query_returns_the_time_at_the_replys_arrival(bits):
    with Server(lambda data: reply(cookie=data[40:48]), delay_s=0.4) as server:
        said = board(BOARD, server.port, bits=bits)
        board(BOARD, server.port, bits=bits)
    # half of the 400 ms counts as the way back
    assert 0 <= int(said[0]) - 1772435645250 - 200 < 100
    assert len({data[40:48] for data in server.requests}) == 2


def test_a_wrong_a_late_and_no_answer_are_clock_errors():
    with Server(lambda data: reply()) as server:
        assert board(BOARD, server.port) == ["time server: answers another request"]
    with Server(lambda data: b"") as server:
        assert board(BOARD, server.port) == ["time server: 0 bytes instead of 48"]
    with Server(lambda data: reply(cookie=data[40:48]), delay_s=2.2) as server:
        said = board(BOARD, server.port)
    assert said[0].startswith("time server: ") and said[0].endswith(" ms to answer")
    with socket.socket(type=socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert board(BOARD, port)[0].startswith("time server 127.0.0.1: ")
