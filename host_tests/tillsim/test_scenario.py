"""A wrong scenario gets one line that names the key."""

import subprocess
import sys

import pytest

from tillsim.scenario import STEPS, ScenarioError, load

GOOD = 'start = "2026-03-02T07:14:00Z"\ntokens = ["04A2243B6C5E80"]\n'
STEP = "[[step]]\nat = 5\n"

WRONG = {
    "colour = 1": "unknown key 'colour'",
    'start = "yesterday"': "start: it must be a time with its zone",
    'start = "2026-03-02T07:14:00"': "start: it must be a time with its zone",
    'timezone = "Mars/Olympus"': "timezone: 'Mars/Olympus' is no IANA time zone",
    'tariff = "none.json"': "tariff: ",
    "tariff = 5": "tariff: it must name a file",
    'tokens = ["04A2"]': "tokens: it must be a list of UIDs",
    "config = 5": "config: it must be a table",
    "step = 5": "step: it must be a list",
    STEP: "step 1: do: None is none of tap, plug",
    STEP + 'do = "dance"': "step 1: do: 'dance' is none of tap, plug",
    '[[step]]\nat = "x"\ndo = "unplug"': "step 1: at: it must be seconds",
    STEP + 'do = "tap"': "step 1: uid is missing for tap: it must be 4, 7 or 10 bytes",
    STEP + 'do = "tap"\nuid = "xyz"': "step 1: uid: it must be 4, 7 or 10 bytes in hex",
    STEP + 'do = "plug"\nkw = "a lot"': "step 1: kw: it must be a power from 0 to 1000 kW",
    STEP + 'do = "unplug"\nkw = 1': "step 1: unknown key 'kw' for unplug; known: none",
    STEP + 'do = "broker"\nstate = "off"': 'step 1: state: it must be "stop" or "start"',
    STEP + 'do = "meter"\nfault = "lazy"': "step 1: fault: it must be one of silent",
    STEP + 'do = "clock"': "step 1: clock takes one of set, step",
    "= 5": "not TOML",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_named(tmp_path, text):
    file = tmp_path / "s.toml"
    file.write_text(text)
    with pytest.raises(ScenarioError) as error:
        load(file)
    assert WRONG[text] in str(error.value)
    assert "\n" not in str(error.value)


def test_every_step_can_be_given(tmp_path):
    values = {"uid": '"04A2243B6C5E80"', "kw": "11", "state": '"stop"', "fault": '"silent"',
              "set": '"2026-03-02T07:14:00Z"'}  # fmt: skip
    text = GOOD
    for do, (must, may) in STEPS.items():
        keys = list(must) + list(may)[:1]
        text += STEP + f'do = "{do}"\n' + "".join(f"{k} = {values[k]}\n" for k in keys)
    file = tmp_path / "s.toml"
    file.write_text(text)
    scenario = load(file)
    assert [step.do for step in scenario.steps] == list(STEPS)
    assert scenario.start_ms == 1772435640000
    assert all(step.at_ms == 5000 for step in scenario.steps)


def test_the_command_says_it_in_one_line(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text("colour = 1")
    done = subprocess.run(
        [sys.executable, "-m", "tillsim", "run", str(file), "--out", str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("tillsim: unknown key 'colour'; known: start, timezone,")
    assert done.stderr.count("\n") == 1


def test_a_configuration_key_out_of_range_is_named(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text(GOOD + "[config]\ncheckpoint_s = 1\n")
    done = subprocess.run(
        [sys.executable, "-m", "tillsim", "run", str(file), "--out", str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "tillsim: config: checkpoint_s must be a whole number from 10 to 900\n"
