"""Reads a journal's files as they are, without opening it: for tools, diagnostics and tests."""

from evtill.core.frames import FrameReader
from evtill.core.journal import ASIDE_NAME
from evtill.core.journal_frames import ASIDE


def replay(store):
    """Yields (name of the file, sequence, kind, payload) of every whole frame. Raises OSError.

    payload: a memoryview that is valid until the next."""
    reader = FrameReader(store)
    buffer = bytearray(512)
    for name in sorted(store.names()):
        for offset, kind, sequence, length in reader.scan(name):
            if length > len(buffer):
                buffer = bytearray(length)
            view = memoryview(buffer)[:length]
            store.read_at(name, offset + 8, view)
            yield name, sequence, kind, view


def aside(store):
    """Yields (seq, reason, JWS or None) of the records set aside: refused, or lost (None)."""
    for name, seq, kind, payload in replay(store):
        if name == ASIDE_NAME and kind == ASIDE:
            end = 5 + payload[4]
            yield seq, str(bytes(payload[5:end]), "ascii"), bytes(payload[end:]) or None
