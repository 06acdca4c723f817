"""`tillctl tariff compile | show | lint | price` from outside."""

import json
from pathlib import Path

import pytest

from tillctl.__main__ import main

FOLDER = Path(__file__).parents[1] / "vectors" / "tariff_cases"
SIMPLE = FOLDER / "tariffs" / "025kwh_start.json"
TARIFF = json.loads(SIMPLE.read_text())
SAMPLES = [
    {"at": "2026-06-01T10:00:00Z", "register_wh": 1000, "state": "charging", "power_w": 11000},
    {"at": "2026-06-01T11:00:00+00:00", "register_wh": 21000, "state": "idle"},
    {"at": "2026-06-01T11:10:00.500", "register_wh": 21000, "state": "idle"},
]


@pytest.fixture
def tillctl(capsys):
    def run(*args):
        code = main(["tariff", *map(str, args)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def case(**changes):
    return {"name": "c", "tariff": TARIFF, "timezone": "Europe/Amsterdam",
            "session": {"samples": SAMPLES}} | changes  # fmt: skip


@pytest.fixture
def price(tillctl, tmp_path):
    def run(*cases, on="cpython"):
        path = tmp_path / "cases.jsonl"
        path.write_text(
            "\n".join(c if isinstance(c, str) else json.dumps(c) for c in cases) + "\n\n"
        )
        code, out, err = tillctl("price", path, "--on", on)
        assert not err
        return code, [json.loads(line) for line in out.splitlines()]

    return run


def test_compile_and_show(tillctl, tmp_path):
    table = tmp_path / "t.bin"
    code, out, _ = tillctl("compile", SIMPLE, "--timezone", "Europe/Amsterdam", "-o", table)
    assert code == 0 and f"{table.stat().st_size} bytes" in out
    code, out, _ = tillctl("show", table)
    assert code == 0
    assert "0.25 EUR/kWh + 10 % VAT (0.275 incl.)" in out
    assert "0.5 EUR/session + 20 % VAT (0.6 incl.)" in out
    code, out, _ = tillctl("show", table, "--json")
    shown = json.loads(out)
    assert shown["id"] == TARIFF["id"] and len(shown["elements"]) == 2
    again = tmp_path / "again.json"
    again.write_text(out)
    tillctl("compile", again, "--timezone", "Europe/Amsterdam", "-o", tmp_path / "again.bin")
    assert (tmp_path / "again.bin").read_bytes() == table.read_bytes()


def test_several_tariffs_in_one_file(tillctl, tmp_path):
    source = tmp_path / "two.json"
    source.write_text(json.dumps([TARIFF, TARIFF | {"id": "other"}]))
    tillctl("compile", source, "--timezone", "UTC", "-o", tmp_path / "two.bin")
    code, out, _ = tillctl("show", tmp_path / "two.bin", "--json")
    assert code == 0 and [t["id"] for t in json.loads(out)] == [TARIFF["id"], "other"]


def test_what_is_refused_is_said_in_one_line(tillctl, tmp_path):
    for text in ("{", "[]", '{"id": "x"}', json.dumps(TARIFF | {"currency": 5})):
        (tmp_path / "bad.json").write_text(text)
        output = tmp_path / "out.bin"
        code, out, err = tillctl(
            "compile", tmp_path / "bad.json", "--timezone", "UTC", "-o", output
        )
        assert code == 1 and not out and err.count("\n") == 1 and not output.exists()
    for args in (("show", tmp_path / "none.bin"), ("lint", tmp_path / "none.json"),
                 ("price", tmp_path / "none.jsonl"), ("show", tmp_path / "bad.json")):  # fmt: skip
        code, out, err = tillctl(*args)
        assert code == 1 and err.startswith("tillctl: ") and err.count("\n") == 1


def test_lint_exits_with_1_when_it_warns(tillctl):
    assert tillctl("lint", FOLDER / "tariffs" / "simple_025kwh.json") == (0, "", "")
    code, out, _ = tillctl("lint", SIMPLE)
    assert code == 1 and "FLAT: at 50 kW and above" in out
    assert tillctl("lint", SIMPLE, "--power-kw", "22")[0] == 0


def test_without_an_interpreter_one_line_says_how_to_provide_it(tillctl, tmp_path, monkeypatch):
    path = tmp_path / "cases.jsonl"
    path.write_text(json.dumps(case()))
    monkeypatch.setenv("MICROPYTHON", str(tmp_path / "missing"))
    code, out, err = tillctl("price", path, "--on", "micropython32")
    assert (code, out) == (1, "") and "MICROPYTHON" in err and err.count("\n") == 1


@pytest.mark.parametrize("on", ["cpython", "micropython32", "micropython64"])
def test_a_session_of_samples(price, on):
    code, (result,) = price(case(), on=on)
    assert code == 0
    assert result["name"] == "c" and result["flags"] == []
    assert result["total_cost"] == {"excl": "5.5", "incl": "6.1"}
    assert result["cost"] == {
        "energy": {"excl": "5", "incl": "5.5"}, "time": {"excl": "0", "incl": "0"},
        "parking": {"excl": "0", "incl": "0"}, "fixed": {"excl": "0.5", "incl": "0.6"},
        "reservation": {"excl": "0", "incl": "0"},
    }  # fmt: skip
    assert result["billed"] == {"excl": 550, "incl": 610}
    lines = [d for p in result["periods"] for d in p["dimensions"]]
    assert [d["type"] for d in lines] == ["FLAT", "ENERGY"]


def test_a_bad_case_does_not_stop_the_rest(price):
    bad = [
        "{", "[]", "5", '{"name": "empty"}',
        case(tariff=None), case(tariff={}), case(timezone="Mars/Base"), case(session=None),
        case(session={"samples": []}), case(session={"samples": [{}]}),
        case(session={"samples": [SAMPLES[0] | {"state": "asleep"}]}),
        case(session={"samples": [SAMPLES[0] | {"at": "yesterday"}]}),
        case(session={"samples": [SAMPLES[0] | {"register_wh": "much"}]}),
        case(session={"samples": [SAMPLES[0] | {"register_wh": float("nan")}]}),
        case(session={"samples": [SAMPLES[0] | {"power_w": []}]}),
        case(session={"periods": []}), case(session={"periods": [5]}),
        case(session={"periods": [{"start": "2026-06-01T10:00:00Z",
                                   "dimensions": [{"type": "ENERGY", "volume": "-1"}]}]}),
        case(session={"periods": [{"start": "2026-06-01T10:00:00Z",
                                   "dimensions": [{"type": ["x"], "volume": "1"}]}]}),
        case(tariff=TARIFF | {"end_date_time": "2026-06-01T10:00:00Z"}),
        case(tariffs=[TARIFF | {"type": "AD_HOC_PAYMENT"}] * 2),
    ]  # fmt: skip
    for on in ("cpython", "micropython32"):
        code, results = price(case(name="first"), *bad, case(name="last"), on=on)
        assert code == 1 and len(results) == len(bad) + 2
        for given, result in zip(bad, results[1:-1], strict=True):
            assert set(result) == {"name", "error"} and "\n" not in result["error"], given
        assert results[0]["billed"] == results[-1]["billed"] == {"excl": 550, "incl": 610}


def test_a_session_gets_its_own_of_several_tariffs(price):
    offered = [TARIFF, TARIFF | {"id": "adhoc", "type": "AD_HOC_PAYMENT"}]
    adhoc = {"samples": SAMPLES, "tariff_type": "AD_HOC_PAYMENT"}
    _, results = price(case(tariffs=offered), case(tariffs=offered, session=adhoc))
    assert [r["tariff"] for r in results] == [TARIFF["id"], "adhoc"]


@pytest.mark.parametrize("on", ["cpython", "micropython32"])
def test_a_register_going_backwards_is_flagged_and_never_negative(price, on):
    samples = [s | {"register_wh": wh} for s, wh in zip(SAMPLES, (5000, 4000, 3000), strict=True)]
    code, (result,) = price(case(session={"samples": samples}), on=on)
    assert code == 0
    assert result["flags"] == ["register_backwards"]
    assert result["cost"]["energy"] == {"excl": "0", "incl": "0"}


@pytest.mark.parametrize(("currency", "billed"), [("JPY", 6), ("EUR", 550), ("KWD", 5500)])
def test_billed_is_in_the_currencys_minor_unit(price, currency, billed):
    _, (result,) = price(case(tariff=TARIFF | {"currency": currency}))
    assert result["billed"]["excl"] == billed


def test_twelve_places_half_up_and_a_finer_register(price):
    tariff = TARIFF | {"elements": [{"price_components": [
        {"type": "ENERGY", "price": 0.000007, "vat": 33.3333333, "step_size": 0}]}]}  # fmt: skip
    samples = [s | {"register_wh": wh} for s, wh in zip(SAMPLES, (0.25, 0.5, "1.375"), strict=True)]
    _, (result,) = price(case(tariff=tariff, session={"samples": samples}))
    assert result["total_cost"] == {"excl": "0.000000007875", "incl": "0.0000000105"}
