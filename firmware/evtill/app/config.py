"""The charger's configuration: one table of keys, and one line for whatever is wrong."""

import json

from evtill.core.errors import ConfigError
from evtill.core.text import plain

# key: (kind, default or None where it must be given, what it may be)
# kinds: ("text", min, max length), ("id", min, max length), ("hex", bytes), ("int", min, max),
# ("one", choices)
KEYS = {
    "charger_id": (("id", 3, 34), None),
    "charger_group": (("text", 0, 34), ""),  # to which artefacts may be addressed as well
    "broker_host": (("text", 1, 128), None),
    "broker_port": (("int", 1, 65535), 8883),
    "broker_tls": (("one", ("on", "off")), "on"),
    "payment_host": (("text", 0, 128), ""),
    "payment_port": (("int", 1, 65535), 443),
    "payment_password": (("text", 0, 64), ""),
    "payment_s": (("int", 2, 20), 8),
    "auth_cache_s": (("int", 0, 2592000), 86400),  # for so long its answer counts while it is away
    # While the payment API is away. refuse: no card that it is to be asked for. known: those that
    # it allowed lately, or that are listed. floor: any other, up to offline_floor_minor. All that
    # up to so much a card, and together, of which the records wait; 0: no such limit.
    "offline": (("one", ("refuse", "known", "floor")), "floor"),
    "offline_floor_minor": (("int", 0, 100000), 0),
    "offline_token_minor": (("int", 0, 1000000), 0),
    "offline_charger_minor": (("int", 0, 100000000), 0),
    "mqtt_password": (("text", 8, 64), None),
    "keepalive_s": (("int", 10, 600), 60),
    "ack_key": (("hex", 32), None),
    "command_key": (("hex", 32), None),
    "token_key": (("hex", 32), None),
    "ntp_host": (("text", 0, 128), ""),
    "ntp_port": (("int", 1, 65535), 123),
    "meter_model": (("id", 1, 16), "sdm630"),
    "meter_address": (("int", 0, 247), 0),  # 0: as the meter leaves the factory
    "meter_serial": (("text", 0, 32), ""),
    "meter_start_wh": (("int", 0, 1000000000), 0),  # a pulse meter's dial when it was put in
    "meter_period_ms": (("int", 500, 10000), 1000),
    # A meter that is silent in a session. stop: after meter_loss_s the session ends, billed to the
    # last good reading. continue: it goes on, and its end waits up to meter_loss_s for the meter.
    "meter_loss": (("one", ("stop", "continue")), "stop"),
    "meter_loss_s": (("int", 10, 86400), 60),
    "max_power_w": (("int", 1000, 400000), 22000),
    "idle_power_w": (("int", 1, 1000), 60),
    # contact: a plain one says that a plug is in. tethered: a cable of the charger's own, with a
    # control pilot. socket: others' cables, with proximity contact and lock as well.
    "plug": (("one", ("contact", "tethered", "socket")), "contact"),
    "max_current_a": (("int", 6, 80), 32),
    "ventilated": (("one", ("off", "on")), "off"),  # whether a car in state D may charge here
    "pilot_low_mv": (("int", 0, 5000), 500),  # what the ADC sees of the pilot's -12 V
    "pilot_high_mv": (("int", 0, 5000), 2900),  # ... and of its +12 V
    "derate_start_c": (("int", 0, 150), 60),  # from here on the current falls
    "derate_stop_c": (("int", 0, 150), 80),  # above it there is none
    "plug_timeout_s": (("int", 10, 600), 60),
    "checkpoint_s": (("int", 10, 900), 60),
    "publish_meter_s": (("int", 10, 600), 10),
    "message_s": (("int", 1, 60), 8),
    "receipt_hint": (("text", 0, 60), ""),  # where receipts are to be had, for the driver
    # Cards that prove themselves (core.ev2): the operator's master key, and what else their keys
    # are made from. Without card_key no card is asked.
    "card_key": (("hex", 16), ""),
    "card_aid": (("hex", 3), "f5e71c"),
    "card_system": (("text", 5, 16), "evtill"),
    # The least that is accepted, and groups of the token list (a,b,c) of which aes is.
    "least_assurance": (("one", ("uid", "aes")), "uid"),
    "aes_groups": (("text", 0, 200), ""),
    "wifi_ssid": (("text", 0, 32), ""),
    "wifi_password": (("text", 0, 63), ""),
}
_HEX = b"0123456789abcdef"
_ID = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*-_."  # fit for a topic


def parse(text):
    """{key: value} with defaults filled in, from JSON text. Raises ConfigError: one line."""
    try:
        given = json.loads(text)
    except ValueError:
        raise ConfigError("the configuration is not JSON")
    if not isinstance(given, dict):
        raise ConfigError("the configuration is not a JSON object")
    for key in given:
        if key not in KEYS:
            raise ConfigError("unknown key %s; known: %s" % (key, ", ".join(sorted(KEYS))))
    config: dict = {}
    for key in sorted(KEYS):
        kind, default = KEYS[key]
        if key not in given and default is None:
            raise ConfigError("%s is missing: it must be %s" % (key, describe(kind)))
        value = given.get(key, default)
        if key in given and not _fits(kind, value):
            raise ConfigError("%s must be %s" % (key, describe(kind)))
        config[key] = value
    if not config["card_key"] and (config["aes_groups"] or config["least_assurance"] == "aes"):
        raise ConfigError("least_assurance aes and aes_groups need a card_key")
    for low, high in (("pilot_low_mv", "pilot_high_mv"), ("derate_start_c", "derate_stop_c")):
        if config[low] >= config[high]:
            raise ConfigError("%s must be below %s" % (low, high))
    return config


def describe(kind):
    """What a key of `kind` may be, in words."""
    if kind[0] == "text":
        return "text of %d to %d printable ASCII characters" % kind[1:]
    if kind[0] == "id":
        return "%d to %d letters, digits or *-_." % kind[1:]
    if kind[0] == "hex":
        return "%d bytes in hex" % kind[1]
    if kind[0] == "int":
        return "a whole number from %d to %d" % kind[1:]
    return "one of " + ", ".join(kind[1])


def _fits(kind, value):
    if kind[0] == "int":
        return isinstance(value, int) and value is not True and value is not False and (
            kind[1] <= value <= kind[2]
        )  # fmt: skip
    if not isinstance(value, str):
        return False
    if kind[0] == "text":
        return plain(value) and kind[1] <= len(value) <= kind[2]
    if kind[0] == "id":
        return kind[1] <= len(value) <= kind[2] and plain(value) and not value.encode().strip(_ID)
    if kind[0] == "hex":
        return len(value) == 2 * kind[1] and plain(value) and not value.encode().strip(_HEX)
    return value in kind[1]
