"""The example scenarios: each comes out as its own [expect] table says."""

import dataclasses
from pathlib import Path

import pytest

import tillsim
from host_tests.e2e.charger import outcome
from tillsim import play, scenario
from tillsim.expect import Judge

# A socket with all that is around it, and the longest record of these; over TLS.
IN_AN_ESP32S_HEAP = ("hot",)
FILES = sorted((Path(tillsim.__file__).parent / "scenarios").glob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_comes_out_as_it_says(tmp_path, file):
    given = scenario.load(file)
    assert given.expect, "an example without [expect] shows nothing"
    options = {}
    if file.stem in IN_AN_ESP32S_HEAP:
        given, options = dataclasses.replace(given, tls=True), {"bits": 32}
    with play.playing(given, **options) as playing:
        playing.run()
        findings = Judge(playing).findings()
        result = outcome(playing, tmp_path / "out")
    assert [str(finding) for finding in findings if not finding.met] == []
    assert result.records == [] or result.verify() == 0
