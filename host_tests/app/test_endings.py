"""Every way in which a session ends: the record that the till signs for it, judged by pyocmf
(strict mode and its checks of calibration law), by jwcrypto, and by `tillctl verify`."""

import json

import pytest
from jwcrypto import jwk
from jwcrypto import jws as reference_jws
from pyocmf import OCMF

from evtill.app import till as app
from evtill.app.clock import Clock
from evtill.core import record, record_check
from evtill.core.errors import JournalError
from evtill.core.journal import BOOT, Journal
from evtill.core.jws import b64url_decode
from evtill.core.outbox import Outbox
from host_tests.app.fakes import ticks  # noqa: F401  (a fixture)
from host_tests.fakes import records
from host_tests.fakes.store import Store
from tillctl.chain import follow
from tillctl.tariff_compile import compile_tariff
from tillctl.tariff_file import TariffFile, TariffFiles
from tillctl.verify import verify

CARD = {"method": "rfid", "token": "9c1f0a6be24d7e35", "assurance": "uid", "ref": None,
        "ceiling_minor": None}  # fmt: skip
APP = {"method": "app", "token": None, "assurance": "app", "ref": "ref-1", "ceiling_minor": None}
HOLD = {"method": "card", "token": None, "assurance": "card", "ref": "pi_1", "ceiling_minor": 500}
NOON_MS = 1772445600000  # 2026-03-02T10:00:00Z


def tariff(price):
    element = {"price_components": [
        {"type": "ENERGY", "price": price, "vat": 19, "step_size": 1},
        {"type": "TIME", "price": 1.2, "vat": 19, "step_size": 60},
        {"type": "PARKING_TIME", "price": 6, "vat": 19, "step_size": 1},
    ]}  # fmt: skip
    return compile_tariff({"id": "T", "currency": "EUR", "elements": [element]}, "Europe/Berlin",
                          2026)  # fmt: skip


OLD, NEW = tariff(0.49), tariff(0.59)
CONFIG = {"charger_id": records.CHARGER, "meter_model": "sdm630", "meter_vendor": "Eastron",
          "meter_period_ms": 2000, "max_power_w": 22000, "checkpoint_s": 60}  # fmt: skip


class Identity(records.Signer):
    @property
    def kid(self):
        return self.public.kid


class Charger:
    """A till on a journal in RAM, with the real clock of the app on the test's ticks."""

    def __init__(self, ticks, is_set=True):  # noqa: F811
        self.ticks, self.store = ticks, Store()
        self.identity = Identity()
        self.wh, self.serial, self.boots = 1045120, "1234567", 0
        self.boot(NOON_MS if is_set else None)

    def boot(self, unix_ms=NOON_MS):
        self.boots += 1
        self.clock = Clock(None)
        if unix_ms is not None:
            self.clock.synchronise(unix_ms)
        self.journal = Journal(self.store)
        self.journal.append(BOOT, b"{}")
        self.outbox = Outbox(self.journal)
        self.till = app.Till(
            CONFIG, self.identity, self.clock, self.journal, self.outbox, self.boots
        )
        self.use(OLD)

    def use(self, table):
        self.till.tables = table
        self.till.pick_tariff()

    def start(self, auth=CARD, limits=(None, None)):
        event = self.till.start(dict(auth), self.serial, self.wh, limits)
        self.till.checkpoint()
        return event

    def charge(self, minutes, power_w=11000, charging=True):
        for _ in range(minutes * 6):
            self.ticks.now_ms += 10000
            self.wh += power_w // 360
            self.till.sample(self.clock.now_ms(), self.wh, charging, power_w, 16000)

    def stop(self, reason):
        self.till.stop(reason, self.clock.now_ms(), self.wh)
        return self.till.settle()

    def session(self, reason="Local", auth=CARD, minutes=30):
        self.start(auth)
        self.charge(minutes)
        self.stop(reason)

    def published(self):
        found = []
        while sent := self.outbox.next_to_send(0, window=64):
            self.outbox.sent(sent[0], 0)
            found.append(bytes(sent[1]))
        return found


@pytest.fixture
def charger(ticks):  # noqa: F811
    return Charger(ticks)


def judged(charger, tmp_path, warned=0, count=1):
    """The last of the records that the charger has published, all of them judged; `warned`: how
    many of its times are not synchronised, which strangers only warn of."""
    files = []
    for number, table in enumerate((OLD, NEW)):
        (tmp_path / f"{number}.bin").write_bytes(table)
        files.append(TariffFile(tmp_path / f"{number}.bin"))
    key = charger.identity.public
    published = charger.published()
    assert len(published) == count
    done = [verify(one, key, TariffFiles(files)) for one in published]
    for one in done:
        assert [str(check) for check in one.checks if check.result != "ok"] == []
        token = reference_jws.JWS()
        token.deserialize(one.jws.decode())
        token.verify(jwk.JWK.from_pem(key.pem.encode()), alg="ES256")
        assert json.loads(token.payload) == one.record
        holds, issues = OCMF.from_string(one.record["ocmf"], strict=True).verify(key.spki.hex())
        assert holds
        assert [issue for issue in issues if issue.severity.value == "error"] == []
    assert [issue.code.value for issue in issues] == ["TIME_SYNC"] * warned
    [chain] = follow(done).values()
    assert {check.result for check in chain} == {"ok"}
    return done[-1].record


def end_of(found):
    _, meant, _ = record_check.parse_ocmf(found["ocmf"])
    return meant["RD"][1]["TX"]


@pytest.mark.parametrize(
    ("reason", "tx"),
    [("Local", "L"), ("Remote", "R"), ("PowerLoss", "P"), ("Reboot", "P"), ("MeterFault", "A"),
     ("TillFault", "A"), ("EmergencyStop", "A"), ("DeAuthorized", "E"), ("EVDisconnected", "E"),
     ("EnergyLimitReached", "E"), ("TimeLimitReached", "E"), ("CostLimitReached", "E"),
     ("GroundFault", "E"), ("Other", "E")],
)  # fmt: skip
def test_every_stop_reason(charger, tmp_path, reason, tx):
    charger.session(reason)
    found = judged(charger, tmp_path)
    assert (found["stop_reason"], end_of(found)) == (reason, tx)


def test_these_are_all_the_stop_reasons():
    names = test_every_stop_reason.pytestmark[0].args[1]
    assert sorted(name for name, _ in names) == sorted(record.STOP_REASONS.split())


@pytest.mark.parametrize("auth", [CARD, APP, HOLD], ids=["card", "app", "hold"])
def test_every_way_to_pay(charger, tmp_path, auth):
    charger.session(auth=auth, minutes=10)
    assert judged(charger, tmp_path)["auth"] == auth


def test_a_ceiling_stops_ahead_of_itself(charger, tmp_path):
    charger.start(HOLD)
    charger.charge(1)
    while charger.till.limit() is None:
        charger.charge(1)
    charger.stop(charger.till.limit())
    found = judged(charger, tmp_path)
    assert found["stop_reason"] == "CostLimitReached"
    assert found["total_cost"]["incl_minor"] <= 500
    assert "ceiling" in found["flags"]


def test_a_ceiling_that_was_overshot_is_taken_off_again(charger, tmp_path):
    charger.start(HOLD)
    charger.charge(60)
    charger.stop("CostLimitReached")
    found = judged(charger, tmp_path)
    assert found["total_cost"]["incl_minor"] == 500


@pytest.mark.parametrize("limits", [(2000, None), (None, 1200000)])
def test_limits_of_energy_and_time(charger, tmp_path, limits):
    charger.start(CARD, limits)
    charger.charge(1)
    while charger.till.limit() is None:
        charger.charge(1)
    charger.stop(charger.till.limit())
    found = judged(charger, tmp_path)
    assert found["stop_reason"] == ("EnergyLimitReached" if limits[0] else "TimeLimitReached")


def test_standing_after_charging(charger, tmp_path):
    charger.start()
    charger.charge(20)
    charger.charge(20, power_w=0, charging=False)
    charger.stop("Local")
    assert judged(charger, tmp_path)["total_parking_time_ms"] == 1190000  # from its first reading


@pytest.mark.parametrize("register", ["read", "silent"])
@pytest.mark.parametrize("moment", ["started", "charging", "stopped"])
def test_a_power_cut(charger, tmp_path, moment, register):
    charger.start()
    charger.charge(20)
    if moment != "started":
        charger.till.checkpoint()
    if moment == "stopped":  # and the record not signed yet
        charger.till.stop("Local", charger.clock.now_ms(), charger.wh)
        changes = charger.store.changes
        charger.store.fail_at = changes + 1
        with pytest.raises(JournalError):
            charger.till.settle()
        charger.store.fail_at = -1
    charger.boot()
    wh = charger.wh if register == "read" else None
    charger.till.recover(charger.till.unfinished(), [OLD], wh, "PowerLoss")
    if charger.till.session is not None:
        charger.till.settle()
    found = judged(charger, tmp_path)
    if moment == "stopped":
        assert (found["stop_reason"], end_of(found)) == ("Local", "L")
        return
    assert (found["stop_reason"], end_of(found)) == ("PowerLoss", "P")
    assert "power_cut" in found["flags"]
    assert ("end_reading_missing" in found["flags"]) == (register == "silent")


def test_a_meter_that_was_replaced(charger, tmp_path):
    charger.session()
    charger.serial, charger.wh = "7654321", 12
    assert charger.start() == "meter_foreign"
    charger.charge(10)
    charger.stop("Local")
    found = judged(charger, tmp_path, count=2)
    assert found["flags"] == ["meter_replaced"]
    assert (found["meter"]["serial"], found["meter"]["start_wh"]) == ("7654321", 12)


def test_a_meter_that_was_replaced_while_it_charged(charger, tmp_path):
    charger.start()
    charger.charge(20)
    charger.till.checkpoint()
    end_wh = charger.wh
    charger.boot()
    charger.till.recover(charger.till.unfinished(), [OLD], 7, "PowerLoss")
    if charger.till.session is not None:
        charger.till.settle()
    found = judged(charger, tmp_path)
    assert found["meter"]["end_wh"] == end_wh
    assert "meter_rollback" in found["flags"]


def test_a_clock_that_was_never_set(ticks, tmp_path):  # noqa: F811
    charger = Charger(ticks, is_set=False)
    charger.session()
    found = judged(charger, tmp_path, warned=2)
    assert found["clock"] == {"start": "U", "end": "U", "duration_ms": 1800000}
    assert found["flags"] == ["clock_unset"]


def test_a_clock_that_is_set_while_it_charges(ticks, tmp_path):  # noqa: F811
    """Both OCMF times are relative then: R and S would be an error to law's readers."""
    charger = Charger(ticks, is_set=False)
    charger.start()
    charger.charge(10)
    charger.clock.synchronise(NOON_MS)
    charger.charge(10)
    charger.stop("Local")
    found = judged(charger, tmp_path, warned=2)
    assert (found["start_date_time"], found["end_date_time"]) == (
        "2026-03-02T09:50:00Z", "2026-03-02T10:10:00Z"
    )  # fmt: skip
    assert (found["clock"]["start"], found["clock"]["end"]) == ("R", "S")
    assert found["flags"] == ["clock_set_late"]


def test_a_clock_that_was_set_after_a_power_cut_puts_nothing_right(ticks, tmp_path):  # noqa: F811
    """Another boot's monotonic clock says nothing of this one's."""
    charger = Charger(ticks, is_set=False)
    charger.start()
    charger.charge(10)
    charger.till.checkpoint()
    charger.boot(NOON_MS)
    charger.till.recover(charger.till.unfinished(), [OLD], charger.wh, "PowerLoss")
    if charger.till.session is not None:
        charger.till.settle()
    found = judged(charger, tmp_path, warned=2)
    assert found["clock"]["start"] == found["clock"]["end"] == "U"
    assert "clock_unset" in found["flags"]


def test_a_tariff_that_changes_while_it_charges_is_the_next_sessions(charger, tmp_path):
    charger.start()
    charger.charge(10)
    charger.use(NEW)
    charger.charge(10)
    charger.stop("Local")
    charger.session()
    published = charger.published()
    prices = []
    for one in published:
        found = record_check.parse(b64url_decode(one.split(b".")[1]))
        lines = [line for p in found["charging_periods"] for line in p["dimensions"]]
        prices += [line["price_micro"] for line in lines if line["type"] == "ENERGY"]
        assert f"{prices[-1] / 10**6:g} EUR/kWh" in found["ocmf"]
    assert prices == [490000, 590000]
    charger.outbox.resend_all()
    judged(charger, tmp_path, count=2)


def test_the_ocmf_string_has_every_field_that_can_be_filled_truthfully(charger, tmp_path):
    """Tables 2 to 7 of OCMF 1.3, without what does not exist here: the meter's own firmware (MF)
    is not read, and nothing is compensated for a cable's losses (LC, CL)."""
    charger.session()
    _, found, _ = record_check.parse_ocmf(judged(charger, tmp_path)["ocmf"])
    assert " ".join(found) == "FV GI GS GV PG MV MM MS IS IL IF IT ID TT CF CT CI RD"
    for reading in found["RD"]:
        assert " ".join(reading) == "TM TX RV RI RU RT EF ST unix_s wh"
