"""The virtual board's flash at a power cut, when it is full and when it cannot be read."""

import pytest

from host_tests.tillsim.images import image_with
from tillsim.board import BLOCK, HOWS, PARTITIONS, VirtualBoard
from tillsim.kernel import Kernel

# Five programs of 64 bytes in block 1 of the data partition, each followed by an erase of block 2;
# nothing of that may allocate.
PROGRAM = b"""
import machine, micropython, time
data = machine.Partition("data")
others = machine.Partition("romfs")
bytes64 = bytearray(range(64))
def work():
    wrote = erased = read = 0
    time.sleep(1)
    micropython.heap_lock()
    for i in range(5):
        others.writeblocks(0, bytes64)
        wrote = data.writeblocks(1, bytes64, i * 64)
        erased = data.ioctl(6, 2)
        read = data.readblocks(1, bytes64, i * 64)
    micropython.heap_unlock()
    time.sleep(1)
    print("wrote", wrote, "erased", erased, "read", read)
work()
"""
START = BLOCK * PARTITIONS["data"][0]


def play(tmp_path, before, bits=32):
    """(what was said, data partition afterwards, board); `before(board)` is done when it is on."""
    kernel = Kernel()
    said = bytearray()
    image = image_with(tmp_path / "flash.img", {"main.py": PROGRAM})
    blocks = bytearray(image.read_bytes())
    blocks[START + 2 * BLOCK : START + 3 * BLOCK] = bytes(BLOCK)  # an erase shows
    image.write_bytes(blocks)
    board = VirtualBoard(kernel, image, bits=bits, log=said.extend)
    board.power_on()
    begun = []
    kernel.at(500, lambda: begun.append(before(board)))
    try:
        kernel.run(done=lambda: (begun and not board.powered) or b">>>" in said)
    finally:
        board.close()
    return said.decode(), image.read_bytes()[START:], board


@pytest.mark.parametrize("bits", [32, 64])
def test_every_write_of_the_data_partition_counts(tmp_path, bits):
    said, data, board = play(tmp_path, lambda board: None, bits)
    assert "wrote None erased 0 read None" in said
    assert board.flash_writes == 10
    assert data[BLOCK : BLOCK + 320] == bytes(range(64)) * 5


@pytest.mark.parametrize("how", HOWS)
def test_power_cut_in_a_program(tmp_path, how):
    said, data, board = play(tmp_path, lambda board: board.kill_at_write(5, how))
    assert "wrote" not in said and "Error" not in said
    assert board.flash_writes == 5
    assert not board.powered and board.resets == 0
    block = data[BLOCK : 2 * BLOCK]
    assert block[:128] == bytes(range(64)) * 2
    assert set(block[192:]) == {0xFF}
    written = block[128:192]
    if how == "nothing":
        assert set(written) == {0xFF}
    elif how == "half":
        assert written == bytes(range(32)) + b"\xff" * 32
    else:
        assert written not in (b"\xff" * 64, bytes(range(64))) and len(set(written)) > 16


@pytest.mark.parametrize("how", HOWS)
def test_power_cut_in_an_erase(tmp_path, how):
    said, data, board = play(tmp_path, lambda board: board.kill_at_write(4, how))
    assert "wrote" not in said and board.flash_writes == 4 and not board.powered
    assert data[BLOCK : BLOCK + 128] == bytes(range(64)) * 2
    block = data[2 * BLOCK : 3 * BLOCK]
    if how == "nothing":
        assert block == bytes(BLOCK)
    elif how == "half":
        assert block == b"\xff" * (BLOCK // 2) + bytes(BLOCK // 2)
    else:
        assert len(set(block)) > 16
    assert set(data[3 * BLOCK : 4 * BLOCK]) == {0xFF}


def test_a_cut_ordered_while_the_power_is_off_counts_from_the_boot(tmp_path):
    def before(board):
        board.kill()
        board.kill_at_write(3, "nothing")
        board.power_on()

    said, data, board = play(tmp_path, before)
    assert "wrote" not in said
    assert data[BLOCK : BLOCK + 64] == bytes(range(64)) and board.flash_writes == 3


def test_a_full_flash_takes_nothing(tmp_path):
    said, data, board = play(tmp_path, lambda board: board.set_flash("full"))
    assert "wrote -28 erased -28 read None" in said
    assert set(data[BLOCK : 2 * BLOCK]) == {0xFF}
    assert board.flash_writes == 0


def test_an_unreadable_flash(tmp_path):
    said, _, _ = play(tmp_path, lambda board: board.set_flash("read_error"))
    assert "wrote None erased 0 read -5" in said
