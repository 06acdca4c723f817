"""Fetches a signed token list, or a delta, from the payment API's host: a file there, over HTTPS.

Loaded while one is fetched. The worker has each piece for a moment only, so that cards can be asked
for and links be made meanwhile; what it fetched is written to flash by the loop alone."""

import hashlib
import select
import sys
from binascii import hexlify

from evtill.app.compose import forget
from evtill.core.errors import ArtefactError, LinkError

_BEGIN_MS = 10000  # from the host's address to the file's first bytes
_LOOK_MS = 200  # the worker waits for the next ones so long at most
_STALL_MS = 30000
_ALL_MS = 1800000
_PIECE = 512
_FIRST = ("authorising", "finishing")  # a card that is asked for and a record need all of the heap


async def fetch(app, path, sha256):
    """Swaps in what is at `path` and has that SHA-256 (hex). Returns the version of the list that
    is here then. Whatever is wrong, the old list stays. Raises EvtillError, OSError of flash."""
    buf = bytearray(_PIECE)  # before the heap is any fuller
    arrived = await _begin(app, path)
    from evtill.app.token_intake import Intake, opener  # nor earlier: a handshake needs the heap

    intake = Intake(app.tokens)
    try:
        if await take(app, intake, arrived, buf) != sha256:
            raise ArtefactError("the file is not the one that was meant")
        arrived = buf = None
        await app.uplink.worker.call(intake.check, opener(app))
        return await intake.finish()
    finally:
        intake.abort()


async def _begin(app, path):
    from evtill.net import https, tls_context

    config = app.config
    headers = {}
    if config["payment_password"]:
        headers["Authorization"] = "Bearer " + config["payment_password"]
    try:
        return await app.uplink.worker.call(
            https.get, tls_context.context(app.hw.DATA, "payment_ca.der"), config["payment_host"],
            config["payment_port"], path, headers, _BEGIN_MS,
        )  # fmt: skip
    finally:
        forget("https", "evtill.net")
        forget("tls_context", "evtill.net")
        sys.modules.pop("requests", None)


async def take(app, intake, arrived, buf):
    """Gives a file that has arrived so far (https.get()) to the intake; of the rest of it, as much
    at a time as `buf` holds. Its SHA-256 in hex. Raises LinkError; ArtefactError without room."""
    sock, head, left = arrived
    try:
        intake.make_sure_of_room(left)
        intake.write(head)
        return await _rest(app, intake, sock, hashlib.sha256(head), left - len(head), buf)
    finally:
        sock.close()


async def _rest(app, intake, sock, whole, left, buf):
    piece = memoryview(buf)
    now_ms = app.clock.now_ms
    began_ms = heard_ms = now_ms()
    while left > 0:
        n = await app.uplink.worker.call(_read, sock, buf)
        at_ms = now_ms()
        if n:
            heard_ms = at_ms
            left -= n
            whole.update(piece[:n])
            intake.write(piece[:n])
        elif n is not None:
            raise LinkError("https: cut off")
        elif at_ms - heard_ms > _STALL_MS:
            raise LinkError("https: nothing came for %d s" % (_STALL_MS // 1000))
        if app.charge_point.state[0] in _FIRST:
            raise LinkError("a driver came first: send it again")
        if at_ms - began_ms > _ALL_MS:
            raise LinkError("https: not whole after %d s" % (_ALL_MS // 1000))
    if left:
        raise LinkError("https: longer than it said")
    return str(hexlify(whole.digest()), "ascii")


def _read(sock, buf):
    """How many bytes came into `buf`: 0 at the end, None when none did for a while."""
    try:
        n = sock.readinto(buf)
        if n is None:
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            poll.poll(_LOOK_MS)
            n = sock.readinto(buf)
        return n
    except OSError as e:
        raise LinkError("https: %s" % e)
