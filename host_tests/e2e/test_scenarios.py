"""The example scenarios: each comes out as its own [expect] table says."""

from pathlib import Path

import pytest

import tillsim
from host_tests.e2e.charger import outcome
from tillsim import play, scenario
from tillsim.expect import Judge

FILES = sorted((Path(tillsim.__file__).parent / "scenarios").glob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_comes_out_as_it_says(tmp_path, file):
    given = scenario.load(file)
    assert given.expect, "an example without [expect] shows nothing"
    with play.playing(given) as playing:
        playing.run()
        findings = Judge(playing).findings()
        result = outcome(playing, tmp_path / "out")
    assert [str(finding) for finding in findings if not finding.met] == []
    assert result.records == [] or result.verify() == 0
