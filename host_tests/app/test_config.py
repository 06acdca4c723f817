"""The configuration: whatever is wrong with it is said in one line that names the key."""

import json

import pytest

from evtill.app.config import KEYS, parse
from evtill.core.errors import ConfigError

GOOD = {
    "charger_id": "DE*EVT*E000123", "broker_host": "broker", "mqtt_password": "password",
    "ack_key": "00" * 32, "command_key": "11" * 32, "token_key": "22" * 32,
}  # fmt: skip


def test_defaults_are_filled_in():
    config = parse(json.dumps(GOOD))
    assert set(config) == set(KEYS)
    assert config["broker_port"] == 8883


@pytest.mark.parametrize("key", GOOD)
def test_a_missing_key_is_named(key):
    given = {k: v for k, v in GOOD.items() if k != key}
    with pytest.raises(ConfigError, match=rf"^{key} is missing: it must be "):
        parse(json.dumps(given))


WRONG = [
    ("broker_port", 0), ("broker_port", 65536), ("broker_port", "1883"), ("broker_port", True),
    ("broker_port", 1.5), ("broker_port", None), ("ack_key", "00"), ("ack_key", "ZZ" * 32),
    ("charger_id", ""), ("charger_id", "x" * 35), ("charger_id", "DE\n"),
    ("charger_id", "DE/+#"), ("charger_id", "Ä*1"),
    ("meter_model", "sdm 999"), ("meter_period_ms", 1), ("mqtt_password", "short"),
    ("checkpoint_s", -5), ("plug_timeout_s", [60]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_value_out_of_range_is_named_with_what_it_may_be(key, value):
    with pytest.raises(ConfigError) as error:
        parse(json.dumps(GOOD | {key: value}))
    assert str(error.value).startswith(f"{key} must be ")
    assert "\n" not in str(error.value)


def test_an_unknown_key_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"^unknown key brokerhost; known: .*broker_host"):
        parse(json.dumps(GOOD | {"brokerhost": "x"}))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "\x00"])
def test_what_is_no_json_object_is_said(text):
    with pytest.raises(ConfigError, match=r"^the configuration is not"):
        parse(text)


@pytest.mark.parametrize(
    "pair", [{"pilot_low_mv": 2900}, {"derate_start_c": 90, "derate_stop_c": 80}]
)
def test_a_range_that_is_upside_down_is_said(pair):
    with pytest.raises(ConfigError, match=r"^(pilot_low_mv|derate_start_c) must be below "):
        parse(json.dumps(GOOD | pair))
