"""A reservation that a session has used up, on flash that fails to forget it; e2e has the rest."""

from types import SimpleNamespace

import pytest

from evtill.app import bookings, files

CARD, OTHER = b"12345678", b"87654321"
BOOKING = {"ref": "R-1", "method": "app", "token": CARD.hex(), "from_ms": 1000, "expires_s": 9000}


@pytest.fixture
def made(tmp_path):
    clock = SimpleNamespace(unix_ms=lambda: 60000, now_ms=lambda: 60000)
    one = bookings.Bookings(
        str(tmp_path), None, None, clock, lambda name, detail: None, lambda token, owner: False
    )
    assert one.make(dict(BOOKING)) is None
    return one


def test_one_that_flash_does_not_forget_is_used_once_all_the_same(made, monkeypatch, tmp_path):
    auth = {"ref": None}
    assert made.before(auth) == [1000, 60000, 0, "R-1"] and auth["ref"] == "R-1"

    def fails(path):
        raise OSError(28)

    with monkeypatch.context() as broken:
        broken.setattr(files, "remove", fails)
        with pytest.raises(OSError):
            made.use()
        with pytest.raises(OSError):
            made.tidy()  # no record is made before that
    # In force no more: it bars nobody, and no second session is billed for it.
    assert made.lets(OTHER, None) and made.before({"ref": None}) is None
    assert made.until_s() is None and made.cancel("R-1") == "no reservation with this ref"
    assert (tmp_path / bookings.FILE[1:]).exists()
    made.tidy()
    assert not (tmp_path / bookings.FILE[1:]).exists()


def test_it_is_for_whom_it_was_made(made):
    assert made.lets(CARD, None) and made.lets(None, "R-1")
    assert not made.lets(OTHER, None) and not made.lets(None, "A-1")
    made.use()
    assert made.lets(OTHER, None)
