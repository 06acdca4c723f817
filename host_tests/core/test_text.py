"""JSON strings and civil time against Python's own."""

import datetime
import json
import random

from hypothesis import given
from hypothesis import strategies as st

from evtill.core import record_check
from evtill.core.text import civil, quote


@given(st.text(max_size=40))
def test_a_quoted_text_is_the_same_text_in_plain_ascii(text):
    quoted = quote(text)
    assert json.loads(quoted) == text
    assert quoted.isascii()
    assert "|" not in quoted


def test_civil_time_is_the_calendars():
    rng = random.Random(5)
    moments = [rng.randrange(-(10**9), 10**10) for _ in range(2000)]
    for unix_s in [0, 951782399, 951782400, 1709164800, 4107542400, *moments]:
        stamp = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=unix_s)
        assert civil(unix_s) == stamp.isoformat()
        assert record_check.civil_s(civil(unix_s)) == unix_s
