"""Form bodies with brackets."""

import pytest

from host_tests.stripe_edge import forms
from host_tests.stripe_edge.errors import StripeError


def test_what_is_written_is_read():
    tree = {"a": "1", "b": {"c": "2", "d": {"e": "é&="}}, "f": ["x", "y"]}
    assert forms.parse(forms.write(tree)) == tree
    assert forms.parse("i[1][q]=2&i[0][q]=1") == {"i": [{"q": "1"}, {"q": "2"}]}


@pytest.mark.parametrize("text", ["a=1&a[b]=2", "a[b]=1&a[b][c]=2"])
def test_what_is_a_text_has_no_parts(text):
    with pytest.raises(StripeError):
        forms.parse(text)


@pytest.mark.parametrize(
    "form, code",
    [
        ({}, "parameter_missing"), ({"n": ""}, "parameter_missing"),
        ({"n": "1.5"}, "parameter_invalid_integer"), ({"n": "1", "x": "1"}, "parameter_unknown"),
        ({"n": "1", "deep": {"x": "1"}}, "parameter_unknown"),
    ],
)  # fmt: skip
def test_a_table_says_what_there_may_be(form, code):
    with pytest.raises(StripeError) as refused:
        forms.read({"n!": int, "yes": bool, "deep": {"s": str}}, form)
    assert refused.value.error["code"] == code


def test_values_have_their_kinds():
    table = {"n!": int, "yes": bool, "list": [str], "deep": {"s": str}, "m": forms.METADATA}
    form = {"n": "-3", "yes": "true", "list": ["a"], "deep": {"s": "t"}, "m": {"k": "v"}}
    assert forms.read(table, form) == {
        "n": -3, "yes": True, "list": ["a"], "deep": {"s": "t"}, "m": {"k": "v"},
    }  # fmt: skip
