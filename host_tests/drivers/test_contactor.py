"""The contactor's coil and what its feedback says."""

import pytest

from evtill.drivers.contactor import Contactor
from host_tests.fakes.pins import Pin


def test_open_when_made():
    coil = Pin(1)
    contactor = Contactor(coil)
    assert coil.level == 0
    assert not contactor.commanded_closed


def test_coil_follows_commands():
    coil = Pin()
    contactor = Contactor(coil)
    contactor.close()
    contactor.close()
    contactor.open()
    assert coil.history == [0, 1, 1, 0]


def test_without_feedback_the_command_is_believed():
    contactor = Contactor(Pin())
    contactor.close()
    assert contactor.closed() and contactor.agrees() and not contactor.welded()


@pytest.mark.parametrize(
    ("commanded", "feedback", "agrees", "welded"),
    [(0, 0, True, False), (0, 1, False, True), (1, 0, False, False), (1, 1, True, False)],
)
def test_feedback_against_command(commanded, feedback, agrees, welded):
    contact = Pin()
    contactor = Contactor(Pin(), contact)
    if commanded:
        contactor.close()
    contact.level = feedback
    assert contactor.closed() == bool(feedback)
    assert contactor.agrees() == agrees
    assert contactor.welded() == welded
