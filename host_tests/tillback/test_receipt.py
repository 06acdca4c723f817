"""The receipt: amounts, VAT, trust and flags, the same in text and page."""

import html as html_module
import re

import pytest

from evtill.core import jws, record, record_check
from evtill.core.errors import RecordError
from host_tests.fakes import records
from tillback import receipt, words
from tillback.vat import split_vat
from tillctl import amounts

SIGNER = records.Signer()


def line(kind="ENERGY", volume=1000, price_micro=1000000, vat_ppm=190000, excl=0, incl=0):
    return {"type": kind, "volume": volume, "price_micro": price_micro, "vat_ppm": vat_ppm,
            "excl_minor": excl, "incl_minor": incl}  # fmt: skip


def published(*lines, total=None, **changes):
    bill = records.bill()
    if lines:
        bill["periods"][0]["dimensions"] = list(lines)
        bill["incl_minor"] = sum(one["incl_minor"] for one in lines) if total is None else total
    facts = records.facts(**changes)
    bill["periods"][0]["start_ms"] = facts["start_unix_s"] * 1000
    return records.envelope(SIGNER, records.payload(SIGNER, facts, bill))


def split(*lines, total):
    payload = jws.b64url_decode(published(*lines, total=total).split(b".")[1])
    return split_vat(record_check.parse(payload), total)


def plain(page):
    """The words of a page."""
    body = page.partition("</style>")[2]
    text = html_module.unescape(re.sub(r"<[^>]+>", " ", body)).replace("\N{NO-BREAK SPACE}", " ")
    return " ".join(text.split())


def test_the_designs_session():
    shown = receipt.model(published(), SIGNER.public)
    text = receipt.text(shown)
    assert shown.faults == []
    for words_ in (
        f"{records.CHARGER}-42", "2 March 2026, 08:14:05 (UTC+01:00; synchronised clock)",
        "1:17:42, stopped at the charger", "1045.120 kWh to 1057.465 kWh", "Energy 12.345 kWh",
        "0.49 EUR/kWh + 19 % VAT", "Eastron SDM630, serial 1234567", "DE*EVT*T1",
    ):  # fmt: skip
        assert words_ in text
    assert re.search(r"Total +7\.20 EUR", text)
    assert re.search(r"VAT 19 % +net +6\.05 EUR +1\.15 EUR", text)
    assert max(map(len, text.splitlines())) <= 80


def test_the_page_says_what_the_text_says():
    one = published(flags=["power_cut", "meter_gap"], amends="DE*EVT*E000123-7")
    shown = receipt.model(one, SIGNER.public)
    page, text = plain(receipt.html(shown)), " ".join(receipt.text(shown).split())
    for words_ in (
        shown.id, shown.begin, shown.end, shown.begin_clock, shown.zone, shown.duration,
        shown.energy, shown.begin_reading, shown.end_reading, shown.serial, shown.paid_by,
        shown.stopped, shown.kid, shown.gross, words.FLAGS["power_cut"], words.FLAGS["meter_gap"],
        "This record amends DE*EVT*E000123-7.", "tillctl verify record.jws --key charger.pub.pem",
        *(part for vat in shown.vat for part in (vat.rate, vat.net, vat.vat)),
    ):  # fmt: skip
        assert words_ in page
        assert words_ in text
    assert shown.sha256 == records.sha256(one)
    assert shown.sha256 in page


def test_the_page_loads_nothing_runs_nothing_and_trusts_no_name():
    evil = '<script>alert(1)</script>"{{ 7 * 7 }}'
    meter = records.facts()["meter"] | {"serial": evil[:32]}
    shown = receipt.model(published(tariff_text=evil, meter=meter))
    page = receipt.html(shown)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "{{ 7 * 7 }}" in html_module.unescape(page)
    assert not re.search(r"(src|href)\s*=|url\(|@import|http", page)


# Gross by hand: design, section 3: split of the rounded gross by largest remainder, VAT of each
# share = gross x r / (100 + r), half-up.
def test_vat_of_one_rate():
    assert split(line(incl=720), total=720) == [(190000000, 720, 115)]  # 720 * 19 / 119 = 114.96


def test_vat_of_two_rates_adds_up_to_the_total():
    food = line("FLAT", 1, 500000, 70000)  # 0.535
    power = line("ENERGY", 1000, 400000, 190000)  # 0.476
    assert split(food, power, total=101) == [(70000000, 53, 3), (190000000, 48, 8)]
    # exact 53.45 and 47.55 of 101: floors 53 + 47, the larger remainder takes the cent


def test_a_clamp_is_spread_pro_rata():
    one = line("FLAT", 1, 1000000, 0)
    other = line("ENERGY", 1000, 1000000, 1000000)  # 2.00 with 100 % VAT
    clamp = line("MAX_PRICE", 1, 0, None, incl=-150)
    assert split(one, other, clamp, total=150) == [(0, 50, 0), (1000000000, 100, 50)]


def test_vat_that_does_not_apply_is_shown_so():
    assert split(line(vat_ppm=None), total=100) == [(None, 100, 0)]
    text = receipt.text(receipt.model(published(line(vat_ppm=None, incl=100))))
    assert "VAT not applicable" in text


def test_a_free_session_costs_nothing():
    free = line(price_micro=0, vat_ppm=None)
    shown = receipt.model(published(free))
    assert split(free, total=0) == [(None, 0, 0)]
    assert "free" in receipt.text(shown)
    assert shown.total == "€\N{NO-BREAK SPACE}0.00"


def test_a_volume_that_was_rounded_up_is_said_to_be():
    measured = line(volume=12345, incl=100)
    longer = line("TIME", 4680000, incl=100)
    text = receipt.text(receipt.model(published(measured, longer)))
    assert text.count("rounded up") == 1
    assert "1:18:00 h" in text.partition("rounded up")[0]
    assert "rounded up" not in receipt.text(receipt.model(published()))


def test_a_fraction_of_a_minor_unit_of_vat_rounds_half_up():
    assert split(line(vat_ppm=1000000), total=1) == [(1000000000, 1, 1)]  # 0.5


def test_what_does_not_verify_is_said_first_and_never_called_checked():
    forged = published()[:-8] + b"AAAAAAAA"
    for shown in (
        receipt.model(forged, SIGNER.public), receipt.model(published(), records.Signer(9).public),
    ):  # fmt: skip
        page, text = receipt.html(shown), receipt.text(shown)
        assert "THIS RECORD DOES NOT VERIFY" in text
        assert "does not verify. Do not pay on it" in page
        assert 'role="alert"' in page
        assert "were checked when this page" not in page
        assert "Checked" not in text


def test_without_a_key_nothing_is_claimed():
    shown = receipt.model(published())
    assert (shown.verified, shown.faults) == ([], [])
    assert "were checked" not in receipt.html(shown)


def test_an_unset_clock_shows_no_date():
    one = published(start_unix_s=30, end_unix_s=4692, clock_start="U", clock_end="U",
                    flags=["clock_unset"])  # fmt: skip
    text = receipt.text(receipt.model(one))
    assert "1970" not in text
    assert "unknown (UTC+01:00; clock not set)" in text
    assert "1:17:42" in text


@pytest.mark.parametrize("data", [b"", b"a.b.c", b"..", b"\xff.\xff.\xff", b"e30.e30.e30"])
def test_what_is_no_record_is_refused(data):
    with pytest.raises(RecordError):
        receipt.model(data)


def test_every_name_has_its_words():
    assert set(words.FLAGS) == set(record.FLAGS.split())
    assert set(words.STOP_REASONS) == set(record.STOP_REASONS.split())
    assert set(words.DIMENSIONS) == set(record_check.DIMENSIONS)
    assert set(words.METHODS) == set(record_check._METHODS)
    assert set(words.ASSURANCES) == set(record_check._ASSURANCES)


@pytest.mark.parametrize(
    ("minor", "currency", "says"),
    [
        (720, "EUR", "7.20 EUR"), (-5, "EUR", "-0.05 EUR"), (720, "JPY", "720 JPY"),
        (7205, "TND", "7.205 TND"), (0, "EUR", "0.00 EUR"),
        (123456789, "EUR", "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567.89 EUR"),
    ],
)  # fmt: skip
def test_money(minor, currency, says):
    assert amounts.money(minor, currency) == says


def test_prices_show_as_many_decimals_as_they_have():
    assert [amounts.price(n) for n in (490000, 495000, 1000000, 1, -490000)] == [
        "0.49", "0.495", "1.00", "0.000001", "-0.49",
    ]  # fmt: skip


# What reaches past the page's edge, or past what hides it.
CUT_OFF = """[...document.querySelectorAll("body, body *")].filter((one) =>
    one.getBoundingClientRect().right > innerWidth + 0.5 ||
    (one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display != "inline")
).map((one) => one.outerHTML.slice(0, 80))"""
LONG = (
    line("FLAT", 1, 500000, 70000, 50, 54),
    line("ENERGY", 123456789, 495000, 190000, 6111111, 7272222),
    line("PARKING_TIME", 468000000, 60000000, None, 78000, 78000),
    line("MAX_PRICE", 1, 0, None, 0, -1234567),
)


@pytest.mark.parametrize("width", [320, 390, 1024])
@pytest.mark.parametrize("lines", [(), LONG])
def test_nothing_is_cut_off_on_a_phone_or_a_desk(browser, width, lines):
    text = "0.49 EUR/kWh + 19 % VAT; " * 9
    one = published(*lines, currency="TND" if lines else "EUR", tariff_text=text,
                    flags=["power_cut", "meter_gap"], amends="DE*EVT*E000123-7")  # fmt: skip
    browser.load(receipt.html(receipt.model(one, SIGNER.public)), width)
    assert browser.evaluate(CUT_OFF) == []
    assert browser.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [width] * 2


def test_a_usual_receipt_prints_on_one_page(browser):
    page = receipt.html(receipt.model(published(flags=["power_cut"]), SIGNER.public))
    assert re.findall(rb"/Type\s*/Pages\b.*?/Count (\d+)", browser.pdf(page), re.S) == [b"1"]
