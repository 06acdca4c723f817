"""The trust gate on both interpreters, and against random meters that tell the truth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtill.core.meter_trust import MeterTrust
from host_tests import micropython
from host_tests.on_micropython import meter_trust_vectors as vectors


@pytest.mark.parametrize("case", vectors.CASES, ids=lambda case: case[0])
def test_case(case):
    _, options, start_wh, samples, wanted = case
    assert vectors.flags_of(options, start_wh, samples) == wanted


@pytest.mark.parametrize("bits", [32, 64])
def test_on_micropython_without_a_byte_of_heap(bits):
    code = "import meter_trust_vectors as v; print(v.check(), v.grows())"
    assert micropython.run(code, bits=bits) == f"{len(vectors.CASES)} 0\n"


@given(
    st.integers(0, 10**10), st.sampled_from([1, 10, 100]),
    st.lists(st.tuples(st.integers(1, 120), st.integers(0, 22000)), min_size=1, max_size=200),
)  # fmt: skip
def test_a_true_meter_is_never_refused(start_wh, step_wh, samples):
    """Whatever the power does, a register that counts it is billed by."""
    trust = MeterTrust(22000, step_wh if step_wh > 1 else 0)
    start_wh -= start_wh % step_wh
    trust.begin(0, start_wh, 0)
    ws = at_s = billed = 0
    for seconds, power_w in samples:
        at_s += seconds
        ws += seconds * power_w
        register_wh = start_wh + ws // 3600 // step_wh * step_wh
        flag = trust.judge(at_s * 1000, register_wh, power_w)
        assert flag in (None, "meter_disagrees", "meter_frozen")
        billed += trust.grown_wh
        assert billed == register_wh - start_wh


@given(st.integers(-(10**9), 10**9), st.integers(1, 60))
def test_no_register_beyond_what_can_have_flowed_is_accepted(moved_wh, seconds):
    trust = MeterTrust(22000)
    trust.begin(0, 10**9, 0)
    flag = trust.judge(1000 * seconds, 10**9 + moved_wh, 0)
    most_wh = 26400 * (seconds + 2) / 3600 + 2 + (10**9 >> 23) + 200
    if moved_wh < 0 or moved_wh > most_wh:
        assert flag in ("meter_rollback", "meter_reset", "meter_jump")


def test_energy_that_flows_through_an_open_contactor():
    trust = MeterTrust(22000)
    trust.begin(0, 1000, 0)
    assert not trust.leaks(1005)
    assert trust.leaks(1100)
