"""Contacts that bounce: a change counts once it was seen often enough, and only once."""

from evtill.drivers.inputs import Inputs
from host_tests.fakes.pins import Pin


def test_a_change_counts_after_so_many_looks_alike():
    fast, slow = Pin(), Pin()
    inputs = Inputs([(fast, 1), (slow, 3)])
    assert [inputs.sample(), inputs.rose] == [0, 0]
    fast.level = slow.level = 1
    assert [(inputs.sample(), inputs.rose) for _ in range(4)] == [(1, 1), (1, 0), (3, 2), (3, 0)]
    fast.level = slow.level = 0
    assert [(inputs.sample(), inputs.rose) for _ in range(3)] == [(2, 0), (2, 0), (0, 0)]


def test_a_contact_that_bounces_changes_nothing():
    pin = Pin()
    inputs = Inputs([(pin, 2)])
    for level in [1, 0] * 200:
        pin.level = level
        assert inputs.sample() == 0
    seen = []
    for level in [1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 0]:
        pin.level = level
        seen.append(inputs.sample())
    assert seen == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0]
