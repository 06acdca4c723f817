"""How long a 2 MB flash lasts. Arguments: sessions to run, checkpoints in each, sessions a day.

Prints the erases a session costs, the most-erased block's erases a session, and the years until
that block has had 100,000."""

import sys

import ramflash

from evtill.app.flash_store import FlashStore
from evtill.core.event_ring import EventRing
from evtill.core.journal import CHECKPOINT, START, STOP, Journal

_ENDURANCE = 100_000


def main(sessions, checkpoints, a_day):
    flash = ramflash.Flash(512)
    ramflash.mount(flash, make=True)
    with open("/f/artefacts", "wb") as file:  # tokens, tariff and configuration stay where they are
        for _ in range(60):
            file.write(bytes(4096))
    journal = Journal(FlashStore("/f/journal"))
    ring = EventRing(FlashStore("/f/events"))
    flash.erases = [0] * flash.blocks
    for n in range(sessions):
        if n % 30 == 0:  # LittleFS starts its allocation elsewhere at each mount
            ramflash.mount(flash)
            journal = Journal(FlashStore("/f/journal"))
            ring = EventRing(FlashStore("/f/events"))
        journal.append(START, b"s" * 400)
        ring.put("e", b"e" * 150, n * 100_000)
        for _ in range(checkpoints):
            journal.append(CHECKPOINT, b"c" * 200)
        journal.append(STOP, b"t" * 300)
        journal.put_record("C-%d" % (n + 1), b"r" * 900)
        ring.put("e", b"e" * 150, n * 100_000)
        journal.done(n + 1)
        journal.save()
    most = max(flash.erases)
    years = _ENDURANCE * sessions // (most * a_day * 365)
    print("%.1f %.3f %d" % (sum(flash.erases) / sessions, most / sessions, years))


main(*[int(word) for word in sys.argv[1:]])
