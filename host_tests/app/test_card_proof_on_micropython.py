"""A card's proof on the board's interpreter: its own AES against recorded cards, and the heap."""

import pytest

from tillsim import bench_cards


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("hidden", [False, True])
def test_recorded_cards_prove_themselves_and_leave_nothing_behind(bits, hidden):
    ms, code, _, kept = bench_cards.proof(hidden, bits, rounds=20)
    assert kept <= 64  # bytes; a leak would grow with each tap
    assert ms < 60
    if bits == 32:
        assert code < 4000
