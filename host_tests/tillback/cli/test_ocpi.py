"""`tillback ocpi cdr` and `cdrs`: what is written, and where to. Imports: ocpi/test_imports.py."""

import json
import subprocess
import sys

import pytest

from host_tests.fakes import records
from host_tests.tillback.ocpi import cases
from host_tests.tillback.ocpi.filled import add, with_charger
from tillback.cli import main
from tillback.ocpi.cdr_check import cdr_faults


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
