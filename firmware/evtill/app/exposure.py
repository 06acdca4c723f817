"""What sessions that were allowed while the backend was away may cost, until it has their records.

Loaded for a look and given back: it keeps nothing in the heap. File owed.bin: a slot of 20 bytes
(little-endian) for each of them: token (8), the record's seq (4), the session's ceiling (4), CRC-32
of these (4); written before the session's START. A slot counts while the journal says that its
record waits: nothing is added up that could drift, and a start that came to nothing counts for
nothing. (A power cut just before its START may leave its number to another session's record, and
its amount with it until that is acknowledged: too much, never too little.) A slot that is damaged
is a free one.
"""

from evtill.app.files import put_slot, slots

_SLOT = 20
_SLOTS = 512  # when all of them wait, nobody else is allowed
_FILE = "/owed.bin"
_FORMAT = "<8sII"
_OF_CARD = "offline limit of the card is reached"
_OF_CHARGER = "offline limit of the charger is reached"


def bound(config, folder, token, waits, ceiling):
    """(ceiling, why) of a session that `token` (8 bytes) may begin: `ceiling` (minor units, None:
    none), or less where config's offline_token_minor or offline_charger_minor leave less. why: in
    words for the display, which of them bounds it, else None; with ceiling 0 it may not begin.
    waits(seq): whether the backend lacks the record. Raises JournalError, OSError."""
    own = together = n = 0
    for _, found in slots(folder + _FILE, _FORMAT):
        if found and waits(found[1]):
            n += 1
            together += found[2]
            if found[0] == token:
                own += found[2]
    why = None
    for cap, owed, words in (
        (config["offline_token_minor"], own, _OF_CARD),
        (config["offline_charger_minor"], together, _OF_CHARGER),
    ):
        if cap and (ceiling is None or cap - owed < ceiling):
            ceiling, why = max(0, cap - owed), words
    if n >= _SLOTS and is_bounded(config):
        return 0, _OF_CHARGER
    return ceiling, why


def is_bounded(config):
    return config["offline_token_minor"] > 0 or config["offline_charger_minor"] > 0


def owe(folder, token, seq, minor, waits):
    """Makes durable that the session whose record is to be `seq` may cost `minor`; takes the slot
    of an earlier attempt at that seq, a free one, or a new one. Raises JournalError, OSError."""
    free = end = None
    for at, found in slots(folder + _FILE, _FORMAT):
        end = at + _SLOT
        if found and found[1] == seq:
            free = at
            break
        if free is None and not (found and waits(found[1])):
            free = at
    put_slot(folder + _FILE, end if free is None else free, _FORMAT, token, seq, minor)
