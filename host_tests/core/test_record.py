"""The usage record: the design's shape, the same bytes everywhere, and every bad field refused."""

import copy
import json
import random
import re

import pytest

from evtill.core import ocmf, record, record_check
from evtill.core.errors import RecordError
from host_tests import micropython
from host_tests.fakes import records

# Section 5 of the design, its values; `ocmf` apart.
_DESIGN = """
{"id":"DE*EVT*E000123-42","seq":42,"prev":"0","charger":"DE*EVT*E000123","firmware":"0.3.0","boot":7,
 "start_date_time":"2026-03-02T07:14:05Z","end_date_time":"2026-03-02T08:31:47Z","clock":{"start":"S","end":"S","duration_ms":4662000},
 "auth_method":"WHITELIST","auth":{"method":"rfid","token":"9c1f0a6be24d7e35","assurance":"uid","ref":null,"ceiling_minor":null},
 "meter":{"model":"SDM630","serial":"1234567","start_wh":1045120,"end_wh":1057465},
 "tariff":{"id":"DE*EVT*T1","sha256":"0"},"currency":"EUR",
 "charging_periods":[{"start_date_time":"2026-03-02T07:14:05Z","dimensions":[{"type":"ENERGY","volume_wh":12345,"price_micro":490000,"vat_ppm":190000,"excl_minor":605,"incl_minor":720}]}],
 "total_energy_wh":12345,"total_time_ms":4662000,"total_parking_time_ms":0,"total_cost":{"excl_minor":605,"incl_minor":720,"exact_excl":"6.04905"},
 "stop_reason":"Local","flags":[],"amends":null,"ocmf":"0"}
"""
_HASHES = re.compile(rb'"(prev|sha256|ocmf)":"(\\.|[^"])*"')


@pytest.fixture(scope="module")
def payload():
    return records.payload(records.Signer(), records.facts())


def test_the_payload_has_the_designs_shape_and_order(payload):
    wanted = re.sub(r"\n *", "", _DESIGN)
    assert _HASHES.sub(rb'"\1":"0"', payload) == wanted.encode()


def test_the_payload_reads_back(payload):
    found = record_check.parse(payload)
    assert found == json.loads(payload)
    out = bytearray(ocmf.MAX_BYTES)
    end = ocmf.build(records.ocmf_facts(records.facts()), out)
    assert found["ocmf"].startswith(out[:end].decode() + "|{")


def test_the_payload_fits_the_journal(payload):
    assert len(payload) < 2048


def test_every_kind_of_line_stands_in_its_own_unit():
    kinds = ("ENERGY", "TIME", "PARKING_TIME", "FLAT", "RESERVATION_TIME", "RESERVATION_FLAT",
             "MIN_PRICE", "MAX_PRICE", "CEILING")  # fmt: skip
    lines = [
        {"type": kind, "volume": 7, "price_micro": -1, "vat_ppm": None, "excl_minor": -2,
         "incl_minor": 3, "rest_nano": 5, "vat_ppb": 1}
        for kind in kinds
    ]  # fmt: skip
    for line in lines[1:]:
        del line["rest_nano"], line["vat_ppb"]
    lines[0]["vat_ppm"] = 0
    bill = records.bill()
    bill["periods"][0]["dimensions"] = lines
    found = record_check.parse(records.payload(records.Signer(), records.facts(), bill))
    [period] = found["charging_periods"]
    assert [sorted(set(line) - set(lines[1]))[:1] for line in period["dimensions"]] == [
        ["rest_nano"], ["volume_ms"], ["volume_ms"], [], ["volume_ms"], [], [], [], []
    ]  # fmt: skip
    assert period["dimensions"][0]["volume_wh"] == period["dimensions"][3]["volume"] == 7


def test_the_tables_hold_no_name_twice():
    for table in (record.FLAGS, record.EVENTS, record.STOP_REASONS):
        names = table.split()
        assert len(set(names)) == len(names) > 10


def _paths(found, path=()):
    """Every place in a JSON value."""
    yield path
    if isinstance(found, dict | list):
        for key, value in found.items() if isinstance(found, dict) else enumerate(found):
            yield from _paths(value, (*path, key))


def _at(found, path):
    for key in path:
        found = found[key]
    return found


# Where these may stand, so that they are no error of type there.
_ALLOWED = {
    ("amends",): [None], ("auth", "token"): [None], ("auth", "ref"): [None],
    ("auth", "ceiling_minor"): [None], ("flags",): [[]], ("charging_periods",): [[]],
    ("charging_periods", 0, "dimensions"): [[]],
    ("charging_periods", 0, "dimensions", 0, "vat_ppm"): [None],
}  # fmt: skip
_SIGNED = ("price_micro", "excl_minor", "incl_minor")


def test_no_field_of_the_record_may_be_of_another_type_or_size(payload):
    good = json.loads(payload)
    tried = 0
    for path in list(_paths(good))[1:]:
        for bad in (True, 1.5, -1, 1 << 60, "", "x" * 5000, [], {}, [None], None, "\u20ac"):
            if bad in _ALLOWED.get(path, []) or (bad == -1 and path[-1] in _SIGNED):
                continue
            found = copy.deepcopy(good)
            _at(found, path[:-1])[path[-1]] = bad
            with pytest.raises(RecordError):
                record_check.parse(json.dumps(found, ensure_ascii=False).encode())
            tried += 1
    assert tried > 400


def test_no_key_may_be_missing_unknown_or_stand_twice(payload):
    good = json.loads(payload)
    for path in list(_paths(good))[1:]:
        if not isinstance(path[-1], str):
            continue
        found = copy.deepcopy(good)
        value = _at(found, path[:-1]).pop(path[-1])
        with pytest.raises(RecordError, match=path[-1] if path[-1] != "type" else "type"):
            record_check.parse(json.dumps(found).encode())
        _at(found, path[:-1])[path[-1]] = value
        _at(found, path[:-1])["surplus"] = 1
        with pytest.raises(RecordError, match=r"unknown key .*surplus"):
            record_check.parse(json.dumps(found).encode())
    with pytest.raises(RecordError, match="twice"):
        record_check.parse(payload.replace(b'"seq":42', b'"seq":41,"seq":42'))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": "DE*EVT*E000123-43"}, "charger-seq"),
        ({"prev": "A" * 64}, "prev"),
        ({"currency": "eur"}, "currency"),
        ({"flags": ["power_cut", "power_cut"]}, "flags"),
        ({"flags": ["no such flag"]}, "flags"),
        ({"stop_reason": "local"}, "stop_reason"),
        ({"end_date_time": "2026-03-02T07:14:04Z"}, "before the start"),
        ({"start_date_time": "2026-02-30T07:14:04Z"}, "start_date_time"),
        ({"start_date_time": "2026-03-02T07:14:04+"}, "start_date_time"),
        ({"meter": {"model": "m", "serial": "s", "start_wh": 2, "end_wh": 1}}, "end_wh"),
        ({"seq": 0}, "seq"),
        ({"amends": "a\x1b[2Jb"}, "amends"),
        ({"amends": "ab\ud800"}, "amends"),
        ({"\ud800\x1b": 1}, r"unknown key .\\ud800\\u001b"),
        ({"total_cost": {"excl_minor": 1, "incl_minor": 1, "exact_excl": "1,0"}}, "exact_excl"),
        ({"total_cost": {"excl_minor": 1, "incl_minor": 1, "exact_excl": "1."}}, "exact_excl"),
    ],
)
def test_contradictions_and_values_out_of_range_are_refused(payload, change, says):
    with pytest.raises(RecordError, match=says):
        record_check.parse(json.dumps(json.loads(payload) | change).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null", b"\xff", b"[" * 20000, b"9" * 30000])
def test_what_is_no_json_object_is_refused(data):
    with pytest.raises(RecordError):
        record_check.parse(data)


def test_no_damage_does_more_than_be_refused(payload):
    rng = random.Random(6)
    for _ in range(2000):
        damaged = bytearray(payload)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(damaged))
            end = at + rng.choice([0, 1, 1, 1, 9])
            damaged[at:end] = rng.choice([b"", b'"', b"{", b"]", b"\\", b"9", b"e9", b"\x00"])
        try:
            record_check.parse_ocmf(record_check.parse(bytes(damaged))["ocmf"])
        except RecordError as error:
            assert "\n" not in str(error)
            assert str(error).isascii()


def _random_case(rng):
    """Facts and a bill with every type of value that can stand in them."""
    seq = rng.randrange(1, 10 ** rng.randrange(1, 9))
    start_s = rng.choice([rng.randrange(100), rng.randrange(1577836800, 4102444800)])
    duration_ms = rng.randrange(10**8)
    start_wh = rng.randrange(10**9)
    wh = rng.randrange(10**6)
    token = f"{rng.getrandbits(64):016x}"
    text = "".join(rng.choice('abc 0"\\|\u20ac\U0001f50c') for _ in range(rng.randrange(12)))
    lines = [
        {"type": kind, "volume": rng.randrange(10**9), "price_micro": rng.randrange(10**7),
         "vat_ppm": rng.choice([None, 0, 190000]), "excl_minor": rng.randrange(-99, 10**7),
         "incl_minor": rng.randrange(10**7)}
        | ({"rest_nano": rng.randrange(1, 10**6)} if rng.random() < 0.3 else {})
        for kind in rng.sample(record_check.DIMENSIONS, rng.randrange(1, 5))
    ]  # fmt: skip
    bill = {
        "periods": [{"start_ms": start_s * 1000 + n, "dimensions": lines} for n in range(3)],
        "excl_minor": rng.randrange(10**9), "incl_minor": 1, "exact_excl": "0.5",
        "energy_wh": wh, "time_ms": duration_ms, "parking_ms": 0,
    }  # fmt: skip
    facts = records.facts(
        seq, f"{rng.getrandbits(256):064x}", start_unix_s=start_s, boot=rng.randrange(10**9),
        end_unix_s=start_s + duration_ms // 1000, duration_ms=duration_ms,
        offset_s=rng.choice([0, 3600, -12600, 20700]), clock_start=rng.choice("UISR"),
        meter={"model": "m", "serial": text + "1", "start_wh": start_wh, "end_wh": start_wh + wh},
        auth={"method": "app", "token": rng.choice([None, token]), "assurance": "app",
              "ref": rng.choice([None, "pi_" + token]), "ceiling_minor": rng.choice([None, seq])},
        tariff_text=text, flags=rng.sample(record.FLAGS.split(), rng.randrange(4)),
        amends=rng.choice([None, "DE*EVT*E000123-1"]),
    )  # fmt: skip
    return facts, bill


_ON_MICROPYTHON = """
import json, sys
from evtill.core import ocmf, record
with open(sys.argv[1]) as file:
    for line in file:
        facts, bill, of = json.loads(line)
        out = memoryview(bytearray(ocmf.MAX_BYTES))
        facts["ocmf"] = out[: ocmf.seal(out, ocmf.build(of, out), 1 << 254, 255)]
        print(str(record.build(facts, bill), "ascii"))
"""


@pytest.mark.parametrize("bits", [32, 64])
def test_micropython_makes_the_same_bytes(bits, tmp_path):
    rng = random.Random(bits)
    cases = [_random_case(rng) for _ in range(60)]
    file = tmp_path / "cases.jsonl"
    with file.open("w") as out:
        for facts, bill in cases:
            print(json.dumps([facts, bill, records.ocmf_facts(facts)]), file=out)
    said = micropython.run(_ON_MICROPYTHON, str(file), bits=bits).splitlines()
    wanted = []
    for facts, bill in cases:
        sealed = records.written_ocmf(records.ocmf_facts(facts), lambda _: (1 << 254, 255))
        payload = record.build(facts | {"ocmf": sealed}, bill)
        record_check.parse(payload)
        wanted.append(payload.decode())
    assert said == wanted


def test_the_check_runs_on_micropython_too(payload, tmp_path):
    bad = [payload.replace(b'"boot":7', b'"boot":%s' % value) for value in (b"-7", b"1.5", b'"7"')]
    file = tmp_path / "payloads"
    file.write_bytes(b"\n".join([payload, *bad, b"nonsense", b"\xff", b"[" * 3000]))
    said = micropython.run(
        """
import sys
from evtill.core import record_check
from evtill.core.errors import RecordError
for line in open(sys.argv[1], "rb"):
    try:
        found = record_check.parse(line.strip())
        body, meant, der = record_check.parse_ocmf(found["ocmf"])
        print("ok", found["seq"], meant["PG"], len(der) > 60)
    except RecordError as error:
        print(error)
""",
        str(file), heap="192k",
    )  # fmt: skip
    boot = "record: boot is not an integer in its range"
    assert said.splitlines() == [
        "ok 42 T42 True", boot, boot, boot, "record: not JSON", "record: not ASCII",
        "record: not JSON",
    ]  # fmt: skip
