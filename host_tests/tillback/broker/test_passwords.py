"""Passwords as mosquitto keeps them."""

import pytest

from tillback.broker.passwords import hashed, matches

# What mosquitto_passwd 2.0.11 made of "pass word".
OF_MOSQUITTO = (
    "$7$101$miHxb4/DCJ5p1k3f$mKGtDX+JJiGoZcnKon7X8OgxXqfRD8pjFChScb8Ie4mv6OokSfuF+ok1TB5slCjm5fJx"
    "99jRBSqTWhWNwR9lFA=="
)


def test_a_password_matches_what_was_made_of_it_alone():
    kept = hashed("pass word")
    assert matches("pass word", kept) and "pass" not in kept
    assert not matches("Pass word", kept) and not matches("", kept)
    assert hashed("pass word") != kept
    assert matches("pass word", OF_MOSQUITTO) and not matches("passw0rd", OF_MOSQUITTO)


@pytest.mark.parametrize(
    "kept", ["", "x", "$7$101$a", "$7$101$a$b$c", "$7$101$!!!!$????", "$6$a$b", "$7$1$YQ==$YQ=="]
)
def test_what_is_no_password_of_ours_matches_nothing(kept):
    assert not matches("", kept) and not matches("x", kept)
