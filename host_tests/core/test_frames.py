"""Frames: every length, every flipped bit, whatever lies between."""

import random

import pytest

from evtill.core.frames import OVERHEAD, PAYLOAD_MAX, FrameReader, encode
from host_tests.fakes.store import Store


def store_of(data: bytes) -> Store:
    return Store({"a": bytearray(data)})


def read(store: Store) -> list[tuple[int, int, bytes]]:
    reader = FrameReader(store)
    return [
        (kind, sequence, bytes(reader.payload("a", offset, length)))
        for offset, kind, sequence, length in reader.scan("a")
    ]


def test_frames_of_every_length_come_back() -> None:
    frames = [(n % 9, n + 1, bytes([n & 0x7F]) * n) for n in range(0, 1100)]
    data = b"".join(b"".join(encode(kind, seq, payload)) for kind, seq, payload in frames)
    assert read(store_of(data)) == frames


def test_the_longest_payload_and_one_more() -> None:
    data = b"".join(encode(1, 1, bytes(PAYLOAD_MAX)))
    assert read(store_of(data)) == [(1, 1, bytes(PAYLOAD_MAX))]
    with pytest.raises(ValueError, match="4097"):
        encode(1, 1, bytes(PAYLOAD_MAX + 1))


def test_any_flipped_bit_costs_that_frame_only() -> None:
    frames = [(5, n, bytes(range(0x20, 0x20 + 40 + n))) for n in range(1, 5)]
    parts = [b"".join(encode(*frame)) for frame in frames]
    data = b"".join(parts)
    starts = [sum(map(len, parts[:i])) for i in range(len(parts))]
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        hit = max(i for i, start in enumerate(starts) if start <= bit // 8)
        assert read(store_of(damaged)) == frames[:hit] + frames[hit + 1 :], bit


def test_a_tail_cut_anywhere_is_passed_over_and_told() -> None:
    whole = b"".join(encode(1, 1, b"first"))
    torn = b"".join(encode(2, 2, bytes(600)))
    after = b"".join(encode(3, 2, b"after"))
    for cut in range(len(torn)):
        store = store_of(whole + torn[:cut])
        reader = FrameReader(store)
        assert [frame[2] for frame in reader.scan("a")] == [1]
        assert reader.skipped == cut
        store.append("a", after)
        assert read(store) == [(1, 1, b"first"), (3, 2, b"after")]


def test_noise_full_of_frame_starts_is_passed_over() -> None:
    rng = random.Random(4)
    good = b"".join(encode(7, 9, b"good"))
    for _ in range(50):
        noise = bytes(rng.choice((0xE5, 0, rng.randrange(256))) for _ in range(700))
        assert read(store_of(noise + good + noise)) == [(7, 9, b"good")]


def test_only_a_tolerant_scan_passes_over_bytes_that_cannot_be_read() -> None:
    class Hole(Store):
        def read_at(self, name: str, offset: int, buffer: bytearray | memoryview) -> int:
            if offset < 256:
                raise OSError(5)
            return super().read_at(name, offset, buffer)

    data = b"".join(encode(1, 1, bytes(300 - OVERHEAD))) + b"".join(encode(1, 2, b"behind"))
    store = Hole({"a": bytearray(data)})
    reader = FrameReader(store)
    with pytest.raises(OSError, match="5"):
        list(reader.scan("a"))
    assert [frame[2] for frame in reader.scan("a", tolerant=True)] == [2]
    assert reader.unreadable
