"""SNTP client (RFC 4330): one question, one fully checked answer. Blocks: call it in the worker."""

import os
import select
import socket
import time

from evtill.core.errors import ClockError

_PACKET = 48  # bytes without the optional authenticator (section 4)
_VERSION_4_CLIENT = 0x23  # LI 0, VN 4, mode 3
_UNIX_1900_S = 2208988800  # from 1900-01-01 to 1970-01-01
_ERA_S = 1 << 32  # seconds wrap on 2036-02-07 (section 3)
_MAX_ROUND_TRIP_MS = 2000


def request(cookie):
    """48 bytes of request. `cookie`: 8 random bytes sent in place of a transmit time, which the
    server echoes: a board whose clock is unset has no better, and a stranger cannot guess it."""
    return bytes((_VERSION_4_CLIENT,)) + bytes(_PACKET - 9) + cookie


def parse(reply, cookie):
    """The server's transmit time in Unix ms. Raises ClockError (checks of RFC 4330 section 5)."""
    if len(reply) < _PACKET:
        _refuse("%d bytes instead of 48" % len(reply))
    if bytes(reply[24:32]) != cookie:
        _refuse("answers another request")
    if reply[0] & 7 != 4 or not 3 <= reply[0] >> 3 & 7 <= 4:
        _refuse("mode or version is not a server's")
    if reply[1] == 0:
        _refuse("kiss of death " + "".join(chr(c) for c in reply[12:16] if 32 < c < 127))
    if reply[0] >> 6 == 3 or reply[1] > 15:
        _refuse("not synchronised")
    # Root delay and dispersion, 16.16 s: below the RFC's infinity of 1 s.
    if any(reply[4:6]) or any(reply[8:10]):
        _refuse("too far from its reference")
    sent_ms = _unix_ms(reply, 40)
    if not any(reply[40:48]) or sent_ms < _unix_ms(reply, 32):
        _refuse("no transmit time")
    return sent_ms


def _refuse(reason):
    raise ClockError("time server: " + reason)


def _unix_ms(reply, at):
    seconds = int.from_bytes(reply[at : at + 4], "big")
    if not seconds >> 31:
        seconds += _ERA_S
    fraction = int.from_bytes(reply[at + 4 : at + 8], "big")  # of 2^32
    return (seconds - _UNIX_1900_S) * 1000 + (fraction * 1000 >> 32)


def query(host, port=123, timeout_s=3):
    """Unix ms (UTC) at the reply's arrival: the server's time plus half the round trip.

    Blocks for the name look-up and at most `timeout_s`. Raises ClockError."""
    cookie = os.urandom(8)
    sock = None
    try:
        info = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
        sock = socket.socket(info[0], socket.SOCK_DGRAM)
        sock.connect(info[-1])  # only this peer's datagrams come in from now on
        sent = time.ticks_ms()
        sock.send(request(cookie))
        poll = select.poll()  # not settimeout(): a signal (a PC's threads) has recv() wait anew
        poll.register(sock, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            _refuse("no answer")
        reply = sock.recv(_PACKET)
        round_trip_ms = time.ticks_diff(time.ticks_ms(), sent)
    except (OSError, IndexError) as e:
        raise ClockError("time server %s: %s" % (host, e)) from None
    finally:
        if sock:
            sock.close()
    if round_trip_ms > _MAX_ROUND_TRIP_MS:
        _refuse("%d ms to answer" % round_trip_ms)
    return parse(reply, cookie) + round_trip_ms // 2
