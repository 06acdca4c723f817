"""Private names are shortened without changing what a program does."""

import re

import pytest

from tillctl import firmware
from tillctl.shorten import shorten

BASE = """
_LIMIT = 1 << 4  # folded
_LIMIT_MS = 30000
_NAMES = ("_kept", "x")
class Base:
    def __init__(self):
        self._shared_state = _LIMIT
    def _step_once(self):
        self._shared_state += 1
        return self._shared_state
"""
DERIVED = """
from base import Base
class Derived(Base):
    def __init__(self):
        Base.__init__(self)
        self._own_thing = 5
    def total(self, _extra_amount=0):
        def _inner_helper():
            return self._own_thing
        return self._step_once() + _inner_helper() + _extra_amount
"""
OTHER = """
from base import _NAMES as names
import _thread
class Other:
    def __init__(self):
        self._lonely_attribute = names
    def total(self):
        return len(self._lonely_attribute), "_lonely_attribute"
"""


def run(sources):
    """What the modules compute, executed as if imported."""
    base: dict = {}
    exec("def const(x): return x\n" + sources["base"], base)
    derived = {"Base": base["Base"]}
    exec(sources["derived"].replace("from base import Base", ""), derived)
    other = {"names": base["_NAMES"]}
    text = sources["other"].replace("from base import _NAMES as names", "")
    exec(text.replace("import _thread", ""), other)
    return derived["Derived"]().total(), other["Other"]().total()


def test_the_program_does_the_same_and_lines_stay():
    before = {"base": BASE, "derived": DERIVED, "other": OTHER}
    after = shorten(before)
    assert run(after) == run(before) == (22, (2, "_lonely_attribute"))
    for name in before:
        assert after[name].count("\n") == before[name].count("\n")
    assert "_shared_state" not in after["base"] + after["derived"]
    assert "const(1 << 4)" in after["base"]
    assert "_NAMES" in after["base"]  # imported elsewhere
    assert '("_kept", "x")' in after["base"]  # text is not touched


def test_a_class_and_its_base_in_another_module_never_share_a_name():
    after = shorten({"base": BASE, "derived": DERIVED, "other": OTHER})
    names = [set(re.findall(r"self\.(_\w+)", after[name])) for name in ("base", "derived")]
    assert "_lonely_attribute" not in after["other"].replace('"_lonely_attribute"', "")
    assert len(names[0]) == 1 and len(names[1]) == 2 and not names[0] & names[1]


PARAMETERS = """
def outer(first, second=3):
    third = first + 1
    def inner(value, *rest, key=1):
        return [value + second + third for second in (1, 2)] + [first, key]
    return inner(5, key=2), [second for _ in range(1)], (lambda first: first + second)(7)
class Thing:
    def method(self, alpha, beta):
        try:
            self.alpha = alpha // 0
        except ZeroDivisionError as beta:
            return (lambda gamma, delta=alpha: (gamma, delta))(str(beta)[:0])
def waits(what, timeout_ms): return (what, timeout_ms)
result = outer(1), Thing().method(4, 5), waits(1, timeout_ms=2)
"""


def test_parameters_that_no_call_names_are_short_and_mean_the_same():
    after = shorten({"m": PARAMETERS}, keywords=("value",))["m"]
    before: dict = {}
    short: dict = {}
    exec(PARAMETERS, before)
    exec(after, short)
    assert short["result"] == before["result"]
    assert "timeout_ms" in after and "value" in after  # named by calls, here and elsewhere
    for name in ("first", "delta", "what"):
        assert name not in after
    assert after.count("\n") == PARAMETERS.count("\n")


def test_names_that_a_library_knows_are_kept():
    assert "_shared_state" in shorten({"base": BASE}, keep=("_shared_state",))["base"]


@pytest.mark.parametrize("call", ["getattr(o, '_x')", "getattr(o, '_' + n)", "setattr(o, n, 1)"])
def test_reaching_a_private_name_by_text_is_refused(call):
    with pytest.raises(ValueError, match="m: line 1 reaches a private name by text"):
        shorten({"m": call})


def test_a_source_that_does_not_compile_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.py").write_text("x = = 1\n")
    with pytest.raises(firmware.BuildError, match=r"invalid syntax"):
        firmware.build(tmp_path / "out", tmp_path / "in")
