"""What the till makes of the journal's room and of the meter's register. Sessions: e2e."""

from types import SimpleNamespace

import pytest

from evtill.app.till import Till
from evtill.core.errors import JournalError


def till(**journal):
    return Till({}, None, SimpleNamespace(unix_ms=lambda: 0), SimpleNamespace(**journal), None, 1)


@pytest.mark.parametrize(
    ("memo", "serial", "register_wh", "doubt"),
    [
        (b"", "1234567", 1000, (None, None)),  # the first session, or the first with a memo
        (b"1000 1234567", "1234567", 1000, (None, None)),
        (b"1000 1234567", "1234567", 1100, (None, None)),  # within the tolerance
        (b"1000 1234567", "1234567", 1101, ("rollback_suspected", None)),
        (b"1000 1234567", "1234567", 999, ("meter_rollback", "meter_rollback")),
        (b"1000 1234567", "7654321", 1000, ("meter_foreign", "meter_replaced")),
        (b"1000 12345678901234567890", "1234567890123456789012", 1000, (None, None)),
        (b"1000 ", "", 1000, (None, None)),
    ],
)
def test_the_register_against_the_last_records_end(memo, serial, register_wh, doubt):
    assert till(memo=memo)._doubt(serial, register_wh) == doubt


def test_a_filling_journal_is_told_once_until_it_was_emptier():
    used = []
    one = till(used_pct=lambda: used.pop(0))
    used += [0, 69, 70, 71, 69, 60, 70, 100, 59, 69, 70, 99]
    assert [one.filling() for _ in range(12)] == [
        None, None, 70, None, None, None, None, None, None, None, 70, None,
    ]  # fmt: skip


def test_flash_that_cannot_be_read_is_a_reason_and_no_crash():
    def fails(*_, **__):
        raise JournalError("the journal cannot be read")

    one = till(used_pct=fails, room=fails)
    one.tariff = SimpleNamespace(needs_clock=False)
    assert one.filling() is None
    assert one.why_not() == one.why_not(True) == "memory fault"
