"""Which commands are obeyed: each rule of the contract has a command that breaks it alone."""

import base64
import json

import pytest

from evtill.core import jws
from evtill.core.commands import Gate
from evtill.core.errors import CommandError
from host_tests import micropython

KEY = bytes(range(32))
CHARGER, NONCE, NOW = "DE*EVT*E000123", "0123456789abcdef", 1772435645
GOOD = {"charger": CHARGER, "cmd": "stop", "id": "c-1", "iat": NOW - 10, "exp": NOW + 60,
        "nonce": NONCE, "args": {}}  # fmt: skip


def gate() -> Gate:
    return Gate(CHARGER, KEY, NONCE)


def message(key: bytes = KEY, typ: str = jws.COMMAND, **changes: object) -> bytes:
    return jws.hs256_sign(json.dumps(GOOD | changes).encode(), typ, key)


def why(one: Gate, said: bytes, now: int | None = NOW) -> tuple[str, str | None]:
    with pytest.raises(CommandError) as refused:
        one.admit(said, now)
    return refused.value.args


def test_a_good_command_is_admitted_once() -> None:
    one = gate()
    said = message(args={"ref": "pi_1"})
    assert one.admit(said, NOW) == ("c-1", "stop", {"ref": "pi_1"})
    assert why(one, said) == ("replayed", "c-1")
    assert why(one, message(exp=NOW + 61)) == ("replayed", "c-1")
    assert one.admit(message(id="c-2"), NOW)[0] == "c-2"
    assert why(one, said, NOW + 60) == ("expired", "c-1")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"charger": "DE*EVT*E000124"}, "for another charger"),
        ({"nonce": "fedcba9876543210"}, "nonce is not this boot's"),
        ({"exp": NOW}, "expired"),
        ({"iat": NOW - 600, "exp": NOW + 1}, "exp must be 1 to 600 s after iat"),
        ({"iat": NOW + 60}, "exp must be 1 to 600 s after iat"),
        ({"iat": NOW + 31, "exp": NOW + 90}, "issued in the future"),
        ({"cmd": "charge"}, "unknown command"),
        ({"cmd": "stop start"}, "unknown command"),
        ({"cmd": ""}, "unknown command"),
    ],
)
def test_what_breaks_one_rule_is_refused_under_its_id(changes: dict, said: str) -> None:
    one = gate()
    assert why(one, message(**changes)) == (said, "c-1")
    assert one.admit(message(), NOW)[1] == "stop"  # nothing of it is remembered


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iat": "soon"}, "iat has the wrong type"),
        ({"exp": True}, "exp has the wrong type"),
        ({"exp": 1772435705.0}, "exp has the wrong type"),
        ({"args": []}, "args has the wrong type"),
        ({"nonce": None}, "nonce has the wrong type"),
        ({"id": ""}, "id must have 1 to 64 characters"),
        ({"id": "x" * 65}, "id must have 1 to 64 characters"),
        ({"more": 1}, "fields must be args charger cmd exp iat id nonce"),
    ],
)
def test_the_malformed_is_refused(changes: dict, said: str) -> None:
    assert why(gate(), message(**changes)) == (said, None)


@pytest.mark.parametrize(
    "said",
    [
        message(key=bytes(32)),
        message(typ=jws.ACK),
        message()[:-1],
        message().replace(b".", b"", 1),
        b"",
        b"...",
        json.dumps(GOOD).encode(),
        jws.hs256_sign(b"not JSON", jws.COMMAND, KEY),
        jws.hs256_sign(b"[]", jws.COMMAND, KEY),
        jws.hs256_sign(b"\xff", jws.COMMAND, KEY),
        base64.urlsafe_b64encode(b'{"alg":"none","typ":"evtill-cmd+jws"}').rstrip(b"=")
        + b"." + message().split(b".")[1] + b".",
    ],
)  # fmt: skip
def test_what_is_not_ours_is_refused_without_an_id(said: bytes) -> None:
    reason, name = why(gate(), said)
    assert reason and name is None


def test_a_clock_that_is_not_set_lets_in_set_time_alone() -> None:
    one = gate()
    assert why(one, message(), None)[0] == "clock is not set: only set_time is accepted"
    set_time = message(cmd="set_time", id="t", args={"unix_ms": NOW * 1000})
    assert one.admit(set_time, None)[1] == "set_time"
    assert why(one, set_time, None) == ("replayed", "t")
    assert why(one, set_time, NOW) == ("replayed", "t")


def test_ids_are_remembered_until_they_expire_and_no_flood_makes_it_forget() -> None:
    one = gate()
    for n in range(32):
        one.admit(message(id=f"c-{n}"), NOW)
    assert why(one, message(id="c-33")) == ("too many commands", "c-33")
    assert why(one, message(id="c-0")) == ("replayed", "c-0")
    later = {"iat": NOW + 50, "exp": NOW + 100}
    assert one.admit(message(id="c-33", **later), NOW + 61)[0] == "c-33"


@pytest.mark.parametrize("bits", [32, 64])
def test_the_same_on_micropython(bits: int) -> None:
    cases = [(message(), NOW), (message(), NOW), (message(id="x", exp=NOW), NOW),
             (message(id="y", exp=True), NOW), (message(key=bytes(32)), NOW),
             (jws.hs256_sign(b"\xff{", jws.COMMAND, KEY), NOW),
             (message(id="z"), None)]  # fmt: skip
    one = gate()
    expected: list[tuple] = []
    for said, now in cases:
        try:
            expected.append(one.admit(said, now))
        except CommandError as e:
            expected.append(("refused", e.args[1]))
    code = f"""
from evtill.core.commands import Gate
from evtill.core.errors import CommandError
one = Gate({CHARGER!r}, {KEY!r}, {NONCE!r})
for said, now in {cases!r}:
    try:
        print(one.admit(said, now))
    except CommandError as e:
        print(("refused", e.args[1]))
"""
    assert micropython.run(code, bits=bits).splitlines() == [str(one) for one in expected]
