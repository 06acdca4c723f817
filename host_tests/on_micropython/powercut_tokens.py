"""Power cuts at every program and erase of a token list's update on a real LittleFS.

Run with arguments: folder with old, full, delta (artefacts in .signed, lists in .bin), stride.
Cuts at each `stride`-th write of a full update and of the delta that follows, in three ways each.
After each cut the list must be, whole, one of the three, and the update must succeed when it comes
again. Prints `cases writes`; raises at anything that must not be.
"""

import asyncio
import gc
import json
import os
import sys
from binascii import a2b_base64, hexlify, unhexlify
from hashlib import sha256

import ramflash

from evtill.app.token_intake import Intake
from evtill.app.token_store import TokenStore
from evtill.core.errors import EvtillError
from evtill.core.tokens import stamp

_BLOCKS = 48
KEY = bytes(range(32))
folder = sys.argv[1]


def host_file(name):
    with open(folder + "/" + name, "rb") as file:
        return file.read()


def trusting(envelope):
    """Stands in for opener(): what the envelope says, its signature unchecked."""
    text = envelope.split(b".")[1].replace(b"-", b"+").replace(b"_", b"/")
    said = json.loads(a2b_base64(text + b"=" * (-len(text) % 4)))
    return said["typ"], said["version"], unhexlify(said["sha256"])


def update(store, signed):
    intake = Intake(store, 0)
    for at in range(0, len(signed), 333):
        intake.write(signed[at : at + 333])
    intake.check(trusting)
    return asyncio.run(intake.finish())


def contents():
    with open("/f/tokens.bin", "rb") as file:
        return file.read()


def tidy_left():
    return [name[0] for name in os.ilistdir("/f") if name[0] not in ("tokens.bin", "other")]


lists = [host_file(name + ".bin") for name in ("old", "full", "new")]
whole = [data + stamp(i, sha256(data).digest()) for i, data in enumerate(lists)]
updates = [host_file(name + ".signed") for name in ("full", "delta")]

factory = ramflash.Flash(_BLOCKS)
ramflash.mount(factory, make=True)
with open("/f/tokens.bin", "wb") as file:
    file.write(whole[0])
with open("/f/other", "wb") as file:
    file.write(bytes(9000))
image = bytes(factory.data)


def both(flash):
    """Both updates, as far as the power lasts."""
    store = TokenStore("/f", KEY)
    for signed in updates:
        update(store, signed)
        if flash.dead:
            return
    assert store.installed() == (2, sha256(lists[2]).digest())


flash = ramflash.Flash(_BLOCKS, bytearray(image))
ramflash.mount(flash)
both(flash)
assert contents() == whole[2] and not tidy_left()
total = flash.programs + sum(flash.erases)

cases = 0
seen = [0, 0, 0]
for left in range(0, total, int(sys.argv[2])):
    for how in (ramflash.NOTHING, ramflash.HALF, ramflash.GARBLED):
        flash = ramflash.Flash(_BLOCKS, bytearray(image))
        ramflash.mount(flash)
        flash.cut(left, how)
        try:
            both(flash)
        except (OSError, EvtillError):
            pass
        assert flash.dead
        again = flash.after_power_cut()
        ramflash.mount(again)
        store = TokenStore("/f", KEY)
        found = whole.index(contents())  # ValueError: neither of them
        assert store.installed() == (found, sha256(lists[found]).digest())
        assert store.sha256 == hexlify(sha256(lists[found]).digest()).decode()
        assert not tidy_left(), tidy_left()
        for signed in updates[found:]:
            update(store, signed)
        assert contents() == whole[2] and not tidy_left()
        seen[found] += 1
        cases += 1
        store.close()
        flash = again = store = None
        gc.collect()
assert min(seen) > 0, seen
print(cases, total)
