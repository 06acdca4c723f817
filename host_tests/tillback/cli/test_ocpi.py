"""`tillback ocpi cdr` and `cdrs`: what is written, and where to. Imports: ocpi/test_imports.py."""

import json
import subprocess
import sys

import pytest

from host_tests.fakes import records
from host_tests.tillback.ocpi import cases
from host_tests.tillback.ocpi.filled import add, with_charger
from tillback.cli import main
from tillback.intake import Intake
from tillback.ocpi.cdr_check import cdr_faults
from tillback.store import Store
from tillctl.tariff_compile import compile_tariff


@pytest.fixture
def url(tmp_path):
    """Records 1 to 3, of which 2 is not billed."""
    url = f"sqlite:///{tmp_path}/tillback.sqlite"
    database = with_charger(url)
    with database.write() as session:
        for seq in (1, 2, 3):
            add(session, records.signed(cases.SIGNER, seq), bill=seq != 2)
    database.close()
    return url


def seqs(cdrs):
    assert all(cdr_faults(one) == [] for one in cdrs)
    return [int(one["id"].rpartition("-")[2]) for one in cdrs]


def test_one(url, capsys):
    assert main(["ocpi", "cdr", f"{records.CHARGER}-1", "--db", url]) == 0
    assert seqs([json.loads(capsys.readouterr().out)]) == [1]
    assert main(["ocpi", "cdr", "nobody-1", "--db", url]) == 1
    assert capsys.readouterr().err == "tillback: no record nobody-1\n"


def test_all_of_them_but_what_has_none_yet(url, capsys, tmp_path):
    assert main(["ocpi", "cdrs", "--db", url]) == 1
    said = capsys.readouterr()
    assert seqs(json.loads(said.out)) == [1, 3]
    assert said.err.startswith("tillback: DE*EVT*E000123-2: is not billed yet")
    assert said.err.count("\n") == 1
    for option, read in (
        ([], json.loads), (["--jsonl"], lambda text: [json.loads(one) for one in text.split("\n")])
    ):  # fmt: skip
        file = tmp_path / "cdrs.json"
        assert main(["ocpi", "cdrs", "--db", url, "-o", str(file), *option]) == 1
        text = file.read_text()
        assert text.endswith("\n") and seqs(read(text[:-1])) == [1, 3]
    assert sorted(one.suffix for one in tmp_path.glob("cdrs*")) == [".json"]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--to", "2026-03-02T10:00:02Z"], [1]),
        (["--from", "2026-03-02T11:00:03+01:00", "--to", "2026-03-03"], [3]),
        (["--from", "2026-03-03"], []),
        (["--charger", "nobody"], []),
    ],
)
def test_a_range_and_nothing_in_it(url, capsys, arguments, wanted):
    assert main(["ocpi", "cdrs", "--db", url, *arguments]) == 0
    assert seqs(json.loads(capsys.readouterr().out)) == wanted
    assert main(["ocpi", "cdrs", "--db", url, "--jsonl", *arguments]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(wanted)


def test_from_the_charger_to_the_cdr(tmp_path, capsys):
    """What a small operator does, in the order in which nothing is known beforehand."""
    url = f"sqlite:///{tmp_path}/new.sqlite"
    store = Store(url)
    store.register(records.CHARGER, cases.SIGNER.public.pem, bytes(32))
    tariff = cases.complete(records.OCPI_TARIFF)
    table = records.sha256(compile_tariff(tariff, "UTC", 2026))
    first = records.signed(cases.SIGNER, 1, tariff={"id": "DE*EVT*T1", "sha256": table})
    assert not Intake(store).take(f"evtill/v1/{records.CHARGER}/usage", first).refused
    store.close()
    for name, content in (
        ("location", cases.LOCATION), ("tokens", [cases.TOKEN]),
        ("tariffs", [tariff]),
    ):  # fmt: skip
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "key").write_text("00" * 32)

    def ocpi(*arguments):
        code = main(["ocpi", *arguments, "--db", url])
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    assert "no location of DE*EVT*E000123" in ocpi("cdr", f"{records.CHARGER}-1")
    ocpi("location", str(tmp_path / "location"), "--charger", records.CHARGER)
    assert "is not billed yet: its tariff DE*EVT*T1" in ocpi("cdr", f"{records.CHARGER}-1")
    assert "1 added" in ocpi("tokens", str(tmp_path / "tokens"), "--key", str(tmp_path / "key"))
    assert "1 records billed" in ocpi(
        "tariffs", str(tmp_path / "tariffs"), "--timezone", "UTC", "--year", "2026"
    )
    found = json.loads(ocpi("cdr", f"{records.CHARGER}-1"))
    assert cdr_faults(found) == []
    assert found["total_cost"] == {"excl_vat": 6.05, "incl_vat": 7.2}
    assert found["tariffs"] == [tariff]


def test_a_time_that_is_none_is_refused(url, capsys):
    with pytest.raises(SystemExit):
        main(["ocpi", "cdrs", "--db", url, "--from", "yesterday"])
    assert "neither a date nor a time" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_said(url, capsys, tmp_path):
    assert main(["ocpi", "cdrs", "--db", url, "-o", str(tmp_path / "none" / "x.json")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("x.json: No such file or directory")


def test_a_pipe_that_is_closed_is_no_traceback(url):
    """`tillback ocpi cdrs | head -c 1`"""
    code = "import sys; from tillback.cli import main; sys.exit(main(sys.argv[1:]))"
    run = subprocess.Popen([sys.executable, "-c", code, "ocpi", "cdrs", "--db", url],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    run.stdout.close()
    assert b"Traceback" not in run.stderr.read()
    run.stderr.close()
    run.wait(30)
