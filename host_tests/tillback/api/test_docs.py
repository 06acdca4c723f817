"""docs/api.md says what is so."""

import re
from pathlib import Path

import pytest

from tillback import deliverer, news, webhooks
from tillback.api import bodies, idempotency, keys, limits, problems

PAGE = (Path(__file__).parents[3] / "docs/api.md").read_text()
SECRET, BODY, T = "whsec_example", b'{"id": "1", "kind": "ping"}', 1772440307


def rows(heading):
    """The first column's names of the first table below a heading, and the rows."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return {name: line for line in lines for name in re.findall(r"`([^`]+)`", line.split("|")[1])}


def test_every_problem_stands_there():
    found = rows("Errors")
    assert set(found) == {problems.BASE + name for name in problems.TYPES}
    for name, (status, _, _) in problems.TYPES.items():
        assert f"| {status} |" in found[problems.BASE + name]


def test_every_scope_and_kind_stands_there():
    assert set(rows("Keys")) == set(keys.SCOPES)
    assert set(rows("News")) == {*news.KINDS, webhooks.PING}


def test_the_numbers_are_right():
    assert (limits.Rate().burst, limits.Rate().per_s) == (120, 20)
    assert (bodies.MOST_BYTES, bodies.WITHIN_S) == (65536, 10)
    assert idempotency.KEPT.total_seconds() == 24 * 3600
    assert (deliverer.GIVEN_UP.days, deliverer.ANSWER_S) == (3, 10)
    assert [deliverer.wait_s(n) for n in (1, 2, 3, 50)] == [10, 30, 90, 6 * 3600]


@pytest.fixture
def is_genuine(monkeypatch):
    """The page's own example."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    found = {}
    exec(compile(code, "docs/api.md", "exec"), found)
    monkeypatch.setattr(found["time"], "time", lambda: T + 299.0)
    return found["is_genuine"]


def test_the_example_believes_what_we_sign(is_genuine):
    assert is_genuine(SECRET, webhooks.signature(SECRET, BODY, T), BODY)


@pytest.mark.parametrize("header", [
    webhooks.signature("whsec_other", BODY, T), webhooks.signature(SECRET, BODY + b" ", T),
    webhooks.signature(SECRET, BODY, T - 2), webhooks.signature(SECRET, BODY, T + 600),
    webhooks.signature(SECRET, BODY, T).replace(f"t={T}", f"t={T + 1}"), "", "t=,v1=", "v1=00",
    f"t={T}", f"t=-{T},v1=00", "nonsense", ",,=,",
])  # fmt: skip
def test_the_example_believes_nobody_else(is_genuine, header):
    assert not is_genuine(SECRET, header, BODY)
