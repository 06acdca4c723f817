"""The table of rights, asked as the embedded broker asks it."""

import pytest

from tillback.broker.rights import backend_may, may, share_group

A = "DE*EVT*A"


@pytest.mark.parametrize("name", ["usage", "event", "status", "meter", "cmd/result"])
def test_what_a_charger_says_the_backend_hears(name):
    topic = f"evtill/v1/{A}/{name}"
    assert may(A, "publish", topic) and not may(A, "hear", topic)
    assert backend_may("hear", topic) and not backend_may("publish", topic)
    assert backend_may("hear", f"evtill/v1/+/{name}")
    assert not backend_may("publish", f"evtill/v1/+/{name}")


@pytest.mark.parametrize("name", ["usage/ack", "event/ack", "cmd"])
def test_what_the_backend_says_a_charger_hears(name):
    topic = f"evtill/v1/{A}/{name}"
    assert may(A, "hear", topic) and not may(A, "publish", topic)
    assert backend_may("publish", topic) and not backend_may("hear", topic)


@pytest.mark.parametrize(
    "topic",
    [
        "", "#", "+", "$SYS/#", "evtill/v1/DE*EVT*B/cmd", "evtill/v1/+/cmd", "evtill/v1/#",
        f"evtill/v1/{A}/#", f"evtill/v1/{A}/+", f"evtill/v1/{A}", f"evtill/v1/{A}/", f"/{A}/cmd",
        f"evtill/v1/{A}/cmd/", f"evtill/v1/{A}/cmd/#", f"evtill/v2/{A}/cmd", f"x/evtill/v1/{A}/cmd",
        f"$share/g/evtill/v1/{A}/cmd", "evtill/v1//cmd", f"evtill/v1/{A}/x/usage",
    ],
)  # fmt: skip
def test_nothing_else(topic):
    for verb in ("publish", "hear"):
        assert not may(A, verb, topic)
        assert not backend_may(verb, topic) or (verb, topic) == (
            "publish", "evtill/v1/DE*EVT*B/cmd"
        )  # fmt: skip


@pytest.mark.parametrize("charger", ["", "+", "#", "a/b", "a+", "DE*EVT*B/cmd"])
def test_a_name_that_is_more_than_a_name_has_no_rights(charger):
    for verb, name in (("publish", "usage"), ("hear", "cmd")):
        assert not may(charger, verb, f"evtill/v1/{charger}/{name}")
        assert charger == "+" or not backend_may(verb, f"evtill/v1/{charger}/{name}")


def test_the_group_of_a_password_is_its_own_and_a_single_level():
    assert share_group("a") == share_group("a") != share_group("b")
    assert not set("/+#") & set(share_group("a")) and "secret" not in share_group("secret")
