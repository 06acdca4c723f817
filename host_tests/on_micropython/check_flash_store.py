"""The store on a real LittleFS: what its methods promise, and how many writes a session takes."""

import ramflash

from evtill.app.flash_store import FlashStore
from evtill.core.journal import CHECKPOINT, START, STOP, Journal

flash = ramflash.Flash(64)
ramflash.mount(flash, make=True)
store = FlashStore("/f/journal")
assert store.names() == []
store.append("a", b"one", bytearray(b"two"), memoryview(b"three"))
store.append("a", b"four")
assert store.names() == ["a"] and store.size("a") == 15
buffer = bytearray(20)
assert store.read_at("a", 3, buffer) == 12 and bytes(buffer[:12]) == b"twothreefour"
assert store.read_at("a", 15, buffer) == 0
store.append("a", b"five")  # while it is open for reading
assert store.read_at("a", 15, buffer) == 4 and bytes(buffer[:4]) == b"five"
store.append("b", b"other")
store.rename("b", "a")  # replaces
assert store.names() == ["a"] and store.size("a") == 5
assert store.read_at("a", 0, buffer) == 5 and bytes(buffer[:5]) == b"other"
assert FlashStore("/f/journal").names() == ["a"]
for job in (store.size, store.remove, lambda name: store.read_at(name, 0, buffer)):
    try:
        job("missing")
    except OSError as e:
        assert e.args[0] == 2, e
    else:
        raise AssertionError("a missing file was found")
free = store.free_bytes()
assert 50 * 4096 < free < 64 * 4096
try:
    while True:
        store.append("big", bytes(8192))
except OSError as e:
    assert e.args[0] == 28, e
assert store.size("big") % 8192 == 0 and store.free_bytes() < 16384
store.remove("big")
assert store.free_bytes() == free
store.remove("a")

# What is appended is in flash at once: another mount, as after a power cut, sees it.
journal = Journal(store)
journal.append(START, b"s" * 300)
ramflash.mount(flash.after_power_cut())
again = FlashStore("/f/journal")
assert Journal(again).open_session() == (b"s" * 300, None, None)

flash = ramflash.Flash(64)
ramflash.mount(flash, make=True)
journal = Journal(FlashStore("/f/journal"))
for n in range(21):
    if n == 1:
        programs, erases = flash.programs, sum(flash.erases)
    journal.append(START, b"s" * 400)
    for _ in range(6):
        journal.append(CHECKPOINT, b"c" * 200)
    journal.append(STOP, b"t" * 300)
    journal.put_record("C-%d" % (n + 1), b"r" * 900)
    journal.done(n + 1)
    journal.save()
print((flash.programs - programs) // 20, (sum(flash.erases) - erases) / 20)
