"""A reservation that a session has used up, on flash that fails to forget it; e2e has the rest."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import tillsim
from evtill.app import bookings, files
from evtill.app.recovery import Recovery
from evtill.core.jws import b64url_decode
from host_tests.app.fakes import ticks  # noqa: F401  (a fixture)
from host_tests.app.test_endings import NOON_MS, Charger
from tillctl.tariff_compile import compile_tariff

FEES = Path(tillsim.__file__).parent / "scenarios" / "reservation_tariff.json"
CARD, OTHER = b"12345678", b"87654321"
BOOKING = {"ref": "R-1", "method": "app", "token": CARD.hex(), "from_ms": 1000, "expires_s": 9000}


class Metering:
    async def serial(self):
        return "1234567"

    async def read(self):
        return SimpleNamespace(energy_wh=1045120)

    async def patiently(self, ask):
        return await ask()


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


def test_one_that_is_over_is_neither_cancelled_nor_given_another_end(made):
    made.booking["expires_s"] = 60
    assert made.cancel("R-1") == "no reservation with this ref"
    assert made.make(BOOKING | {"from_ms": 60000}) == "reserved"


def test_one_in_vain_is_billed_once_by_flash_that_fails_to_forget_it(
    ticks, monkeypatch, tmp_path  # noqa: F811
):  # fmt: skip
    folder = str(tmp_path)
    charger = Charger(ticks)
    charger.use(compile_tariff(json.loads(FEES.read_text()), "Europe/Berlin", 2026))
    (tmp_path / "tariff.bin").write_bytes(charger.till.tables)
    told = []

    def report(name, detail):
        told.append((name, detail))

    def known():
        found = bookings.Bookings(folder, charger.till, Metering(), charger.clock, report, None)
        found.find()
        return found

    booked = {"ref": "R-1", "method": "card", "token": None, "from_ms": NOON_MS - 600000,
              "expires_s": NOON_MS // 1000 + 60}  # fmt: skip
    assert known().make(booked) is None
    one = known()
    assert one.cancel("R-1") is None

    def fails(path):
        raise OSError(28)

    with monkeypatch.context() as broken:
        broken.setattr(files, "remove", fails)
        with pytest.raises(OSError):
            asyncio.run(one.look())
        assert charger.published() == []
        charger.boot(NOON_MS + 1000)
        recovery = Recovery(folder, charger.till, None, charger.clock, report, "PowerLoss")
        assert not asyncio.run(recovery.settle()) and charger.published() == []
    assert known().booking is not None
    assert asyncio.run(recovery.settle()) and known().booking is None
    (jws,) = charger.published()
    found = json.loads(b64url_decode(jws.split(b".")[1]))
    assert found["flags"] == ["reservation_cancelled"]
    assert found["auth"] == {
        "method": "card", "token": None, "assurance": "card", "ref": "R-1", "ceiling_minor": None,
    }  # fmt: skip
    assert found["total_cost"]["incl_minor"] == 60  # 10 minutes
    assert told[-1] == ("session_closed_at_boot", "seq 1: 60 minor units")
