"""The compact table: damaged ones, offsets from UTC, which tariff a session gets."""

import binascii
import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from evtill.core import tariff
from evtill.core.errors import TariffError
from tillctl.tariff_compile import compile_tariff

ENERGY = {"type": "ENERGY", "price": 0.25, "vat": 10.0, "step_size": 1}
RICH = {
    "id": "rich", "currency": "EUR", "country_code": "DE", "party_id": "EVT",
    "min_price": {"excl_vat": 0.5, "incl_vat": 0.6}, "max_price": {"excl_vat": 40},
    "start_date_time": "2026-01-01T00:00:00Z", "end_date_time": "2027-01-01T00:00:00Z",
    "elements": [
        {"price_components": [ENERGY, {"type": "TIME", "price": 1.5, "step_size": 60}],
         "restrictions": {"start_time": "22:00", "end_time": "06:00", "max_kwh": 20,
                          "day_of_week": ["SATURDAY", "SUNDAY"], "min_power": 3.7}},
        {"price_components": [{"type": "FLAT", "price": 1, "vat": 19, "step_size": 1}],
         "restrictions": {"start_date": "2026-06-01", "end_date": "2026-09-01"}},
        {"price_components": [{"type": "TIME", "price": 2, "step_size": 600}],
         "restrictions": {"reservation": "RESERVATION_EXPIRES", "min_duration": 300}},
    ],
}  # fmt: skip
ZONES = ["Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
         "Africa/Casablanca", "America/St_Johns", "UTC"]  # fmt: skip


@pytest.fixture(scope="module")
def rich():
    return compile_tariff(RICH, "Europe/Amsterdam", 2026)


def sealed(body):
    return bytes(body) + binascii.crc32(body).to_bytes(4, "little")


def test_a_table_says_what_it_is(rich):
    t = tariff.load(rich)
    assert (t.id, t.owner, t.currency, t.minor_digits, t.kind) == ("rich", "DEEVT", "EUR", 2, "")
    assert (t.min_price, t.max_price) == ((500000, 600000), (40000000, None))
    assert t.valid_from_s == 1767225600 and t.valid_to_s == 1798761600
    assert t.needs_clock and len(t.sha256) == 64 and t.table == rich


def test_only_tables_with_rules_on_the_clock_or_a_validity_need_one():
    plain = {"id": "x", "currency": "EUR", "elements": [{"price_components": [ENERGY]}]}
    assert not tariff.load(compile_tariff(plain, "Europe/Amsterdam")).needs_clock
    ending = plain | {"end_date_time": "2030-01-01T00:00:00Z"}
    assert tariff.load(compile_tariff(ending, "Europe/Amsterdam")).needs_clock


def test_every_cut_and_every_flipped_bit_is_refused(rich):
    for size in range(len(rich)):
        with pytest.raises(TariffError):
            tariff.load(rich[:size])
    for bit in range(8 * len(rich)):
        damaged = bytearray(rich)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TariffError):
            tariff.load(bytes(damaged))


def test_another_version_is_named(rich):
    body = bytearray(rich[:-4])
    body[2] = 2
    with pytest.raises(TariffError, match="version 2"):
        tariff.load(sealed(body))


def test_nonsense_under_a_right_crc_is_refused_or_harmless(rich):
    rng = random.Random(5)
    refused = 0
    for _ in range(3000):
        body = bytearray(rich[:-4])
        for _ in range(rng.randint(1, 4)):
            body[rng.randrange(5, len(body))] = rng.randrange(256)
        try:
            t = tariff.load(sealed(body))
        except TariffError:
            refused += 1
            continue
        moment = tariff.Moment()
        t.place(moment, 1780000000)
        for dimension in range(6):
            rate = t.find(dimension, moment)
            assert rate == -1 or len(t.rate(rate)) == 3
    assert refused > 500


@pytest.mark.parametrize("zone", ZONES)
def test_offsets_are_the_time_zone_databases_for_ten_years(zone):
    t = tariff.load(compile_tariff(RICH, zone, 2026))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    while at.year < 2037:
        wanted = at.astimezone(ZoneInfo(zone)).utcoffset().total_seconds()
        assert t.offset_s_at(int(at.timestamp())) == wanted, at
        at += timedelta(minutes=30 * 7)  # meets every half-hour of the week
    assert t.span is None or t.span[1] >= datetime(2037, 1, 1, tzinfo=UTC).timestamp() // 86400


@pytest.mark.parametrize("zone", ["Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe"])
def test_offsets_change_to_the_second(zone):
    t = tariff.load(compile_tariff(RICH, zone, 2026))
    changes = 0
    s = 1767225600
    while changes < 20:
        if t.offset_s_at(s) != t.offset_s_at(s + 1800):
            edges = [u for u in range(s, s + 1800) if t.offset_s_at(u) != t.offset_s_at(u + 1)]
            (edge,) = edges
            for u in (edge, edge + 1):
                local = datetime.fromtimestamp(u, ZoneInfo(zone))
                assert t.offset_s_at(u) == local.utcoffset().total_seconds()
            changes += 1
        s += 1800


def test_outside_the_covered_years_the_clock_is_not_known(rich):
    open_ended = {k: v for k, v in RICH.items() if not k.endswith("date_time")}
    t = tariff.load(compile_tariff(open_ended, "Europe/Amsterdam", 2026))
    assert t.covers(1780000000)
    assert not t.covers(int(datetime(2045, 1, 1, tzinfo=UTC).timestamp()))
    assert not t.covers(0)
    assert not tariff.load(rich).covers(1798761600)  # the end of validity is exclusive
    assert tariff.load(rich).covers(1798761599)


def offered(**types):
    made = []
    for name, extra in types.items():
        made.append({"id": name, "currency": "EUR", "elements": [{"price_components": [ENERGY]}]}
                    | extra)  # fmt: skip
    return compile_tariff(made, "UTC", 2026)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("REGULAR", "regular"), ("AD_HOC_PAYMENT", "adhoc"), ("PROFILE_GREEN", "any"),
     ("PROFILE_FAST", "any")],
)  # fmt: skip
def test_a_session_gets_the_tariff_of_its_type(kind, wanted):
    buf = offered(any={}, regular={"type": "REGULAR"}, adhoc={"type": "AD_HOC_PAYMENT"})
    assert tariff.choose(buf, 1780000000, kind).id == wanted


def test_a_preference_without_a_tariff_falls_back_to_regular():
    buf = offered(regular={"type": "REGULAR"}, adhoc={"type": "AD_HOC_PAYMENT"})
    assert tariff.choose(buf, 1780000000, "PROFILE_CHEAP").id == "regular"
    only_adhoc = offered(adhoc={"type": "AD_HOC_PAYMENT"})
    with pytest.raises(TariffError, match="none for a REGULAR session"):
        tariff.choose(only_adhoc, 1780000000, "REGULAR")


def test_a_new_tariff_replaces_the_old_one_at_its_start():
    buf = offered(
        old={"end_date_time": "2026-07-01T00:00:00Z"},
        new={"start_date_time": "2026-07-01T00:00:00Z"},
        newest={"start_date_time": "2026-08-01T00:00:00Z"},
    )
    at = [datetime(2026, *d, tzinfo=UTC).timestamp() for d in ((6, 30, 23, 59, 59), (7, 1), (8, 1))]
    assert [tariff.choose(buf, int(s)).id for s in at] == ["old", "new", "newest"]


def test_one_damaged_table_of_several_is_refused():
    buf = bytearray(offered(a={}, b={}))
    buf[-6] ^= 1
    with pytest.raises(TariffError):
        tariff.load(bytes(buf))
    with pytest.raises(TariffError):
        tariff.split(bytes(buf[:-3]))
