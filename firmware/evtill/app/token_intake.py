"""Takes a signed token list, or a delta, in as it arrives; swaps it in whole or not at all.

Loaded while one arrives. Whatever is wrong, and wherever the power is cut, the old list stays."""

import asyncio
import hashlib
import os

from evtill.app import identity
from evtill.core.errors import ArtefactError
from evtill.core.tokens import stamp

TYPES = ("tokens", "tokens-delta")
_ENVELOPE_MAX = 1024
_SPARE_BYTES = 196608  # of flash that stay free meanwhile: the journal's reserve, and sessions


def opener(app):
    """What check() of an Intake takes: checks by the operator's key, the charger's id and group,
    and the time. app: compose.App. Raises ArtefactError where no operator's key was provisioned."""
    from evtill.core import artefact

    try:
        with open(app.hw.DATA + "/operator.key", "rb") as file:
            key = file.read(65)
    except OSError:
        key = b""
    if len(key) != 64:
        raise ArtefactError("no operator key: provision the charger with one")
    point = int.from_bytes(key[:32], "big"), int.from_bytes(key[32:], "big")
    audiences = ["all", "charger:" + app.config["charger_id"]]
    if app.config["charger_group"]:
        audiences.append("group:" + app.config["charger_group"])
    # Now, not in check(), whose thread may be another than that of clock and flash.
    unix_s = None if app.clock.trust() == "U" else app.clock.unix_ms() // 1000
    engine = identity.engine()
    installed = app.tokens.installed()

    def check(envelope):
        return artefact.check(envelope, point, engine, TYPES, audiences, unix_s, installed)

    return check


class Intake:
    """store: the charger's TokenStore; spare_bytes: of flash, to be left alone.

    write() all of the artefact, then check() it and finish(). One Intake at a time. After any error
    (EvtillError, OSError) call abort()."""

    def __init__(self, store, spare_bytes=_SPARE_BYTES):
        self._store = store
        self._spare_bytes = spare_bytes
        self._head = b""  # the envelope, as far as it is here
        self._said = None  # (typ, version, SHA-256) once it was checked
        self._hash = hashlib.sha256()
        self._size = 0
        self._file = None

    def write(self, piece):
        """Takes the next bytes of the artefact."""
        if self._file is None:
            self._head += piece
            end = self._head.find(b"\n")
            if end < 0:
                if len(self._head) > _ENVELOPE_MAX:
                    raise ArtefactError("no envelope")
                return
            piece = self._head[end + 1 :]
            self._head = self._head[:end]
            self._file = open(self._store.path + ".part", "wb")
        self._put(piece)

    def check(self, opened):
        """Checks the envelope, once all was written: so that what brought it is out of the heap,
        which a signature needs. opened(envelope) -> (typ, version, SHA-256), which raises: that of
        opener(). Touches no flash: it may be called in another thread."""
        if self._file is None:
            raise ArtefactError("no envelope")
        self._said = opened(self._head)

    def make_sure_of_room(self, size):
        """For so many bytes more: raises ArtefactError rather than take the journal's room."""
        found = os.statvfs(self._store.folder)
        if found[0] * found[3] < self._spare_bytes + size:
            raise ArtefactError("no room in flash")

    def _put(self, data):
        """Writes and hashes, as long as there is room."""
        before = self._size
        self._size += len(data)
        self._hash.update(data)
        if not before or before >> 16 != self._size >> 16:
            self.make_sure_of_room(65536)
        self._file.write(data)

    async def finish(self):
        """All was checked: compares the content, and swaps it in. Returns the list's version."""
        from evtill.core import token_update  # not earlier: check() needs the heap

        typ, version, sha256 = self._said
        store = self._store
        self._close()
        if self._hash.digest() != sha256:
            raise ArtefactError("content is not what was signed")
        if (version, sha256) == store.installed():
            self.abort()
            return version
        ready = store.path + ".part"
        if typ == "tokens-delta":
            sha256 = await self._merge(token_update)
            ready = store.path + ".new"
        with open(ready, "rb") as file:
            for _ in token_update.check(_reader(file), self._size, store.key):
                await asyncio.sleep(0)
        with open(ready, "ab") as file:
            file.write(stamp(version, sha256))
        store.swap(ready)
        self.abort()
        return version

    async def _merge(self, token_update):
        """Makes the new list out of the old one and the delta. Its SHA-256."""
        store = self._store
        with open(store.path + ".part", "rb") as file:
            delta = _reader(file)
            before, after, _ = token_update.delta_of(delta, self._size)
            if before != store.installed()[1]:
                raise ArtefactError("delta of another list than the one here")
            size = self._size
            self._hash = hashlib.sha256()
            self._size = 0
            self._file = open(store.path + ".new", "wb")
            for _ in token_update.merge(store.list, store.read_at, delta, size, self._put):
                await asyncio.sleep(0)
        self._close()
        if self._hash.digest() != after:
            raise ArtefactError("delta does not make the list that it says")
        return after

    def abort(self):
        """Forgets what came so far. Raises OSError when flash fails; a boot tidies up then."""
        self._close()
        self._store.tidy()

    def _close(self):
        if self._file is not None:
            file = self._file
            self._file = None
            file.close()


def _reader(file):
    def read_at(offset, n):
        file.seek(offset)
        return file.read(n)

    return read_at
