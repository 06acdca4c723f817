"""`tillctl verify`: what holds, what does not, and that every change of a record is noticed."""

import json
import os
import random
import re

import pytest

from evtill.core import jws, record_check
from evtill.core.pricing import Pricer
from evtill.core.tariff import Tariff
from host_tests.fakes import records
from tillctl import reprice
from tillctl.__main__ import main
from tillctl.chain import verify_chain
from tillctl.tariff_compile import compile_tariff
from tillctl.tariff_file import TariffFile
from tillctl.verify import verify

_LINE = re.compile(rb'{"type":"([A-Z_]+)"')
SIGNER = records.Signer()
ZONE = "Europe/Amsterdam"


def element(*components, **restrictions):
    found = {
        "price_components": [
            {"type": kind, "price": price, "step_size": step}
            | ({} if vat is None else {"vat": vat})
            for kind, price, vat, step in components
        ]
    }
    return found | ({"restrictions": restrictions} if restrictions else {})


def tariff(*elements, **rest):
    return {"id": "DE*EVT*T1", "currency": "EUR", "elements": list(elements)} | rest


PLAIN = tariff(element(("ENERGY", 0.49, 19, 1)))
WINDOWS = tariff(
    element(("FLAT", 0.5, 7, 1)),
    element(("ENERGY", 0.55, 19, 1), ("TIME", 2, 19, 1), start_time="08:00", end_time="20:00"),
    element(("ENERGY", 0.30, 19, 1), ("PARKING_TIME", 6, 19, 300)),
)
TARIFFS = [
    PLAIN,
    WINDOWS,
    tariff(element(("ENERGY", 0.2, 7, 1), max_kwh=5), element(("ENERGY", 0.61, 19, 500))),
    tariff(
        element(("TIME", 1, 19, 1), ("ENERGY", 0.3, 19, 1), max_duration=1800),
        element(("TIME", 7.77, 19, 60), ("ENERGY", 0.25, None, 1)),
    ),
    tariff(
        element(("ENERGY", 0.7, 19, 1), min_power=16),
        element(("ENERGY", 0.35, 19, 1), ("PARKING_TIME", 3, 19, 60)),
    ),
    tariff(
        element(("ENERGY", 0.333, 19, 1000), ("TIME", 3.33, 19, 900), ("PARKING_TIME", 5, 19, 60)),
        min_price={"excl_vat": 3, "incl_vat": 3.57}, max_price={"excl_vat": 4, "incl_vat": 4.76},
    ),
]  # fmt: skip


def compiled(source):
    return compile_tariff(source, ZONE, 2026)


def session(table, rng, seq=42, prev=records.ZEROS, **changes):
    """A published record of a random session, priced by the charger's own code; every third has a
    ceiling, which some are above."""
    of = Tariff(table)
    start_ms = records.START_S * 1000 + rng.randrange(-40000000, 40000000)
    first_wh = rng.randrange(10**6)
    pricer = Pricer(of, start_ms, first_wh)
    ms = nano = 0
    while rng.random() < 0.95:
        charging = rng.random() < 0.7
        power_w = rng.choice([0, 3700, 11000, 22000]) if charging else 0
        pricer.sample(start_ms + ms, first_wh + nano // 10**9, charging, power_w, 16000)
        step_ms = rng.randrange(1000, 600000)
        nano += power_w * step_ms * 10**9 // 3600000
        ms += step_ms
    end_wh = first_wh + nano // 10**9
    pricer.finish(start_ms + ms, end_wh)
    pricer.ceiling_minor = rng.choice([None, None, rng.randrange(1500)])
    auth = records.facts()["auth"] | {"ceiling_minor": pricer.ceiling_minor}
    facts = records.facts(
        seq, prev, start_unix_s=start_ms // 1000, end_unix_s=(start_ms + ms) // 1000,
        duration_ms=ms, tariff={"id": of.id, "sha256": of.sha256},
        meter={"model": "SDM630", "serial": "1", "start_wh": first_wh, "end_wh": end_wh},
        auth=auth, **changes,
    )  # fmt: skip
    return records.envelope(SIGNER, records.payload(SIGNER, facts, pricer.bill()))


@pytest.fixture
def files(tmp_path):
    """A folder with a key, a tariff (JSON and table) and two records of a chain."""
    (tmp_path / "key.pem").write_text(SIGNER.public.pem)
    (tmp_path / "tariff.json").write_text(json.dumps(WINDOWS))
    (tmp_path / "tariff.bin").write_bytes(compiled(WINDOWS))
    rng = random.Random(1)
    first = session(compiled(WINDOWS), rng, 1)
    second = session(compiled(WINDOWS), rng, 2, records.sha256(first))
    (tmp_path / "1.jws").write_bytes(first)
    (tmp_path / "all.jws").write_bytes(first + b"\n" + second + b"\n")
    return tmp_path


def tillctl(capsys, files, *args):
    """(exit code, lines on standard output, standard error) of `tillctl verify`."""
    code = main(["verify", "--key", str(files / "key.pem"), *map(str, args)])
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err


NAMES = ["jws signature", "key id", "payload", "ocmf signature", "ocmf readings", "energy",
         "periods", "tariff", "bill"]  # fmt: skip


def test_a_good_record_is_ok_in_every_line(capsys, files):
    for form in ("tariff.json", "tariff.bin"):
        code, lines, _ = tillctl(capsys, files, files / "1.jws", "--tariff", files / form)
        assert code == 0
        assert [line.partition(":")[0] for line in lines] == [f"ok   {name}" for name in NAMES]


def test_without_the_tariff_the_bill_is_skipped_and_that_is_only_good_when_asked_for(capsys, files):
    code, lines, _ = tillctl(capsys, files, files / "1.jws")
    assert code == 1
    assert [line.split()[0] for line in lines] == ["ok"] * 7 + ["skipped"] * 2
    code, again, _ = tillctl(capsys, files, files / "1.jws", "--no-tariff")
    assert (code, again) == (0, lines)


def test_several_records_are_a_chain(capsys, files):
    code, lines, _ = tillctl(capsys, files, files / "all.jws", "--no-tariff")
    assert code == 0
    assert lines[-1].startswith("ok   chain: seq 1 to 2")
    assert lines[0].startswith(f"{records.CHARGER}-1  ok   jws signature")


def test_the_answer_for_programs(capsys, files):
    code, lines, _ = tillctl(capsys, files, files / "all.jws", "--no-tariff", "--json")
    found = json.loads("\n".join(lines))
    [[chain]] = found["chains"].values()
    assert (code, found["ok"], chain["check"], chain["result"]) == (0, True, "chain", "ok")
    assert [[check["check"] for check in one["checks"]] for one in found["records"]] == [NAMES] * 2
    assert found["records"][0]["sha256"] == records.sha256((files / "1.jws").read_bytes())


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x", b"", "no record in it"), ("x", b"\n\n", "no record in it"),
        ("x", b"{}", "not a usage record"), ("x", b"\xff\x00" * 99, "not a usage record"),
        ("x", b"a" * 40000, "not a usage record"), ("missing", None, "No such file"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_record_gets_one_line(capsys, files, name, content, says):
    if content is not None:
        (files / name).write_bytes(content)
    code, lines, error = tillctl(capsys, files, files / name)
    assert (code, lines) == (1, [])
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"{}", b"no tariff", b"ET\x01\x00", b"\xff"])
def test_a_file_that_holds_no_tariff_gets_one_line(capsys, files, content):
    (files / "bad").write_bytes(content)
    code, _, error = tillctl(capsys, files, files / "1.jws", "--tariff", files / "bad")
    assert code == 1
    assert error.count("\n") == 1


@pytest.mark.parametrize("content", ["", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n"])
def test_a_file_that_holds_no_key_gets_one_line(capsys, files, content):
    (files / "key.pem").write_text(content)
    code, _, error = tillctl(capsys, files, files / "1.jws", "--no-tariff")
    assert code == 1
    assert "key.pem: not a public key in PEM" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("form", ["", ".", "..", "a.b.c", "e30.e30.e30", "..." * 9])
def test_what_only_looks_like_a_record_fails_without_a_traceback(form):
    done = verify(form.encode(), SIGNER.public)
    assert {check.name for check in done.checks if check.result == "ok"} == set()


def failed(done):
    return [check.name for check in done.checks if check.result == "FAIL"]


def resigned(published, change):
    """The record changed by a forger who holds the record key but not the truth."""
    payload = json.loads(jws.b64url_decode(published.split(b".")[1]))
    change(payload)
    return records.envelope(SIGNER, json.dumps(payload, separators=(",", ":")).encode())


def long_session():
    """A record with lines of each kind."""
    for seed in range(100):
        published = session(compiled(WINDOWS), random.Random(seed))
        kinds = set(_LINE.findall(jws.b64url_decode(published.split(b".")[1])))
        if len(kinds) == 4:
            return published
    raise AssertionError("no such session")


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    path = tmp_path_factory.mktemp("tariff") / "t.json"
    path.write_text(json.dumps(WINDOWS))
    return TariffFile(path, ZONE)


def _energy_line(record):
    lines = [line for p in record["charging_periods"] for line in p["dimensions"]]
    return max((line for line in lines if line["type"] == "ENERGY"), key=lambda x: x["volume_wh"])


def _cheaper(record):
    _energy_line(record)["price_micro"] -= 1


def _dearer_by_a_cent(record):
    _energy_line(record)["incl_minor"] += 1
    record["total_cost"]["incl_minor"] += 1


def _other_vat(record):
    _energy_line(record)["vat_ppm"] = 123000


def _shifted_cent(record):
    lines = [line for p in record["charging_periods"] for line in p["dimensions"]]
    lines[0]["excl_minor"] += 1
    lines[-1]["excl_minor"] -= 1


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda r: r["meter"].update(end_wh=r["meter"]["end_wh"] + 1), ["ocmf readings", "energy"]),
        (lambda r: r["meter"].update(serial="2"), ["ocmf readings"]),
        (lambda r: r.update(total_energy_wh=r["total_energy_wh"] - 1), ["energy", "bill"]),
        (lambda r: r["clock"].update(duration_ms=9), ["periods"]),
        (lambda r: r["tariff"].update(sha256="0" * 64), ["tariff", "bill"]),
        (lambda r: r.update(currency="CHF"), ["bill"]),
        (_cheaper, ["bill"]),
        (_dearer_by_a_cent, ["bill"]),
        (_other_vat, ["bill"]),
        (_shifted_cent, ["bill"]),
        (lambda r: r["total_cost"].update(excl_minor=1), ["periods", "bill"]),
        (lambda r: r["total_cost"].update(exact_excl="0.01"), ["periods", "bill"]),
        (lambda r: r.update(flags=["lies"]), ["payload", *NAMES[3:]]),
    ],
)
def test_a_signed_lie_is_caught_by_the_line_that_it_concerns(windows, change, names):
    published = long_session()
    assert failed(verify(published, SIGNER.public, windows)) == []
    assert failed(verify(resigned(published, change), SIGNER.public, windows)) == names


def test_another_key_is_noticed_in_both_signatures(windows):
    published = long_session()
    done = verify(published, records.Signer(9).public, windows)
    assert failed(done) == ["jws signature", "key id", "ocmf signature"]


def test_every_flipped_bit_is_noticed():
    published = session(compiled(PLAIN), random.Random(3))
    rng = random.Random(4)
    for at in rng.sample(range(len(published)), 400):
        changed = bytearray(published)
        changed[at] ^= 1 << rng.randrange(8)
        assert not verify(bytes(changed), SIGNER.public).holds(without_tariff=True)


def chain_of(*records_):
    return verify_chain([verify(one, SIGNER.public) for one in records_])


def test_the_chain_shows_holes_swaps_and_doubles():
    table, rng = compiled(PLAIN), random.Random(2)
    one = session(table, rng, 1)
    two = session(table, rng, 2, records.sha256(one))
    other_two = session(table, rng, 2, records.sha256(one))
    three = session(table, rng, 3, records.sha256(two))
    foreign = records.signed(SIGNER, 4, records.sha256(three), charger="X", id="X-4")
    assert chain_of(three, one, two).result == "ok"
    assert "between 1 and 3" in chain_of(one, three).text
    assert "does not name" in chain_of(one, other_two, three).text
    assert chain_of(one, two, two).result == "ok"  # a copy
    assert "twice" in chain_of(one, two, other_two).text
    assert "several chargers" in chain_of(three, foreign).text
    assert "cannot be read" in chain_of(one, b"a.b.c").text
    assert "begin" in chain_of(session(table, rng, 1, "1" * 64), two).text


@pytest.mark.parametrize("number", range(len(TARIFFS)))
def test_random_sessions_are_repriced_to_the_same_bill(number):
    table = compiled(TARIFFS[number])
    rng = random.Random(number)
    for _ in range(3000 if os.environ.get("EVTILL_SOAK") else 60):
        payload = jws.b64url_decode(session(table, rng).split(b".")[1])
        record = record_check.parse(payload)
        assert reprice.differences(record, reprice.reprice(record, Tariff(table))) == []


@pytest.mark.parametrize("change", [_cheaper, _dearer_by_a_cent, _other_vat, _shifted_cent])
def test_a_wrong_bill_is_noticed_with_every_tariff(change):
    for number, source in enumerate(TARIFFS):
        table = compiled(source)
        rng = random.Random(100 + number)
        for _ in range(8):
            record = record_check.parse(jws.b64url_decode(session(table, rng).split(b".")[1]))
            lines = [line for p in record["charging_periods"] for line in p["dimensions"]]
            if len(lines) < 2 or record["total_energy_wh"] < 1000:
                continue
            change(record)
            try:
                wrong = reprice.differences(record, reprice.reprice(record, Tariff(table)))
            except reprice.Mismatch as mismatch:
                wrong = [str(mismatch)]
            assert wrong


def priced_by(source, start_s, hours):
    """The record of a session of an even 12 kW from `start_s`, priced by the tariff `source`."""
    of = Tariff(compiled(source))
    pricer = Pricer(of, start_s * 1000, 0)
    for second in range(0, hours * 3600, 30):
        pricer.sample((start_s + second) * 1000, second * 12000 // 3600, True, 12000, 16000)
    end_s, end_wh = start_s + hours * 3600, hours * 12000
    pricer.finish(end_s * 1000, end_wh)
    facts = records.facts(
        start_unix_s=start_s, end_unix_s=end_s, duration_ms=hours * 3600000,
        meter={"model": "SDM630", "serial": "1", "start_wh": 0, "end_wh": end_wh},
        tariff={"id": of.id, "sha256": of.sha256},
    )  # fmt: skip
    return record_check.parse(records.payload(SIGNER, facts, pricer.bill()))


@pytest.mark.parametrize(
    ("true", "used", "says"),
    [
        (
            tariff(
                element(("ENERGY", 0.5, 19, 1), ("TIME", 1, 19, 1), end_time="08:00",
                        start_time="06:00"),
                element(("ENERGY", 0.2, 19, 1), ("TIME", 1, 19, 1)),
            ),
            tariff(element(("ENERGY", 0.5, 19, 1), ("TIME", 1, 19, 1))), "ENERGY changes to 0.2 ",
        ),
        (
            tariff(element(("ENERGY", 0.5, 19, 1), max_kwh=5), element(("ENERGY", 0.2, 19, 1))),
            tariff(element(("ENERGY", 0.5, 19, 1))), "ENERGY changes to 0.2 ",
        ),
        (
            tariff(element(("TIME", 3, 19, 1), max_duration=1800), element(("TIME", 1, 19, 1))),
            tariff(element(("TIME", 3, 19, 1))), "TIME changes to 1 ",
        ),
    ],
)  # fmt: skip
def test_a_change_of_price_that_was_left_out_is_noticed(true, used, says):
    start_s = records.START_S - 1800  # 07:44 in Amsterdam, two hours
    good = priced_by(true, start_s, 2)
    assert reprice.differences(good, reprice.reprice(good, Tariff(compiled(true)))) == []
    with pytest.raises(reprice.Mismatch, match=says):
        reprice.reprice(priced_by(used, start_s, 2), Tariff(compiled(true)))


def test_the_lines_of_tillback_records_are_records_too(capsys, files):
    lines = (files / "all.jws").read_text().split()
    (files / "r.jsonl").write_text("".join(json.dumps({"jws": one}) + "\n" for one in lines))
    code, said, _ = tillctl(capsys, files, files / "r.jsonl", "--no-tariff")
    assert (code, said[-1][:9]) == (0, "ok   chai")
    (files / "r.jsonl").write_text('{"jws": 7}\n')
    assert tillctl(capsys, files, files / "r.jsonl")[0] == 1
