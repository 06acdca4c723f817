"""A wrong scenario gets one line that names the key."""

import subprocess
import sys

import pytest

from tillsim.scenario import EXPECT, STEPS, ScenarioError, load

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
    'tokens = "none.csv"': "tokens: [Errno 2] No such file or directory",
    "config = 5": "config: it must be a table",
    "step = 5": "step: it must be a list",
    STEP: "step 1: do: None is none of tap, reader, plug",
    STEP + 'do = "dance"': "step 1: do: 'dance' is none of tap, reader, plug",
    '[[step]]\nat = "x"\ndo = "unplug"': "step 1: at: it must be seconds",
    STEP + 'do = "tap"': "step 1: uid is missing for tap: it must be 4, 7 or 10 bytes",
    STEP + 'do = "tap"\nuid = "xyz"': "step 1: uid: it must be 4, 7 or 10 bytes in hex",
    STEP + 'do = "plug"\nkw = "a lot"': "step 1: kw: it must be a power from 0 to 1000 kW",
    STEP + 'do = "unplug"\nkw = 1': "step 1: unknown key 'kw' for unplug; known: none",
    STEP + 'do = "broker"\nstate = "off"': 'step 1: state: it must be "stop" or "start"',
    STEP + 'do = "meter"\nfault = "lazy"': 'step 1: fault: it must be "silent", "wrong_crc"',
    STEP + 'do = "clock"': "step 1: clock takes one of set, step",
    STEP + 'do = "clock"\nset = "2026-03-02T07:14:00Z"\nstep = 1': "clock takes one of set, step",
    STEP + 'do = "clock"\nstop = 1': "step 1: unknown key 'stop' for clock; known: set, step",
    STEP + 'do = "kill"\nat_write = 0': "step 1: at_write: it must be a whole number from 1 to",
    STEP + 'do = "kill"\nat_write = 1.5': "step 1: at_write: it must be a whole number",
    STEP + 'do = "kill"\nat_write = true': "step 1: at_write: it must be a whole number",
    STEP + 'do = "kill"\nat_write = 5\nhow = "all"': 'how: it must be "nothing", "half" or "garb',
    STEP + 'do = "kill"\nhow = "half"': "step 1: how: it goes with at_write",
    STEP + 'do = "kill"\nwhen = 5': "step 1: unknown key 'when' for kill; known: at_write, how",
    STEP + 'do = "proxy"': "step 1: proxy takes one of delay_ms, cut_after, ",
    STEP + 'do = "proxy"\nacks = "drop"\ndelay_ms = 5': "step 1: proxy takes one of delay_ms,",
    STEP + 'do = "proxy"\ndelay_ms = -1': "step 1: delay_ms: it must be a whole number from 0",
    STEP + 'do = "proxy"\ncut_after = "x"': "step 1: cut_after: it must be a whole number from 0",
    STEP + 'do = "proxy"\nhalf_open = false': "step 1: half_open: it must be true",
    STEP + 'do = "proxy"\nclear = 1': "step 1: clear: it must be true",
    STEP + 'do = "proxy"\nacks = "lose"': 'step 1: acks: it must be "drop", "dup',
    STEP + 'do = "flash"': "step 1: state is missing for flash: it must be",
    STEP + 'do = "flash"\nstate = "hot"': 'state: it must be "ok", "full" or "read_error"',
    STEP + 'do = "pilot"\nstate = "C"': 'step 1: pilot: it needs plug = "socket" or "tethered"',
    STEP + 'do = "kill"\nwarned_ms = 5': "step 1: warned_ms: it needs plug =",
    '[config]\nplug = "tethered"\n' + STEP + 'do = "fault"\nwhat = "lock"':
        "step 1: what = 'lock': it needs plug = \"socket\" in",
    STEP + 'do = "plug"\nkw = 5\ncable_a = 20': 'cable_a: it needs plug = "socket" in [config]',
    "expect = 5": "expect: it must be a table",
    "[expect]\nweather = 1": "expect: unknown key 'weather'; known: sessions, stop_reason,",
    "[expect]\nsessions = -1": "expect: sessions: it must be a whole number from 0",
    '[expect]\nstop_reason = "Tired"': "expect: stop_reason: it must be a stop reason",
    '[expect]\nevents = ["boot", "party"]': "expect: events: it must be a list of events",
    '[expect]\nshown = "Ready"': "expect: shown: it must be a list of texts",
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
              "set": '"2026-03-02T07:14:00Z"', "step": "-3.5", "at_write": "12", "how": '"half"',
              "delay_ms": "0", "cut_after": "0", "cut_down_after": "0",
              "ack_delay_ms": "0", "half_open": "true", "acks": '"drop"',
              "clear": "true", "flash.state": '"full"', "name": '"stop"',
              "args": "{connector = 1}", "sign": '"well"', "serial": "7654321", "shift_wh": "-5",
              "frozen": "true", "told": "0.5",
              "card": '"desfire"', "key": '"wrong"', "hidden": "true", "held_ms": "500",
              "reader.state": '"hang"', "cable_a": "20", "pilot.state": '"D"', "bounce_ms": "90",
              "noise_mv": "300", "which": '"emergency"', "button.state": '"released"',
              "what": '"lock"', "fault.state": '"clear"', "celsius": "80.5",
              "warned_ms": "80", "display.state": '"unplug"'}  # fmt: skip
    text = GOOD + '[config]\nplug = "socket"\n'
    given = []
    for do, keys in STEPS.items():
        for key in keys.one_of or [None]:
            given.append(do)
            text += STEP + f'do = "{do}"\n'
            for k in [*keys.must, *([key] if key else []), *keys.may]:
                text += f"{k} = {values[f'{do}.{k}' if f'{do}.{k}' in values else k]}\n"
    file = tmp_path / "s.toml"
    file.write_text(text)
    scenario = load(file)
    assert [step.do for step in scenario.steps] == given
    cut = {"at_write": 12, "how": "half", "warned_ms": 80}
    assert cut in [step.args for step in scenario.steps]
    assert scenario.start_ms == 1772435640000
    assert all(step.at_ms == 5000 for step in scenario.steps)


def test_help_shows_every_step_and_key():
    said = parser_help()
    for do, keys in STEPS.items():
        assert f"\n  {do}" in said
        for key, (_, words) in keys.known().items():
            assert f"{key}: {words}" in said
    for key, (_, words) in EXPECT.items():
        assert f"\n  {key}: {words}" in said


def parser_help():
    return subprocess.run(
        [sys.executable, "-m", "tillsim", "run", "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


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


def test_acknowledgements_cannot_be_told_apart_in_tls(tmp_path):
    file = tmp_path / "scenario.toml"
    file.write_text('tls = true\n[[step]]\nat = 1\ndo = "proxy"\nacks = "drop"\n')
    with pytest.raises(ScenarioError, match=r"^acks: .*tls = true"):
        load(file)
