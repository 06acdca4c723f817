"""Form bodies with brackets, as Stripe's API takes them: read, checked against a table, written.

A table is {parameter: kind}. A kind is int, bool, str, another table, a list with one kind, or
METADATA; a parameter that ends in `!` has to be there."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode

from host_tests.stripe_edge.errors import invalid

METADATA = "metadata"
_MOST_KEYS, _LONGEST_KEY, _LONGEST_VALUE = 50, 40, 500  # docs.stripe.com/metadata


def parse(text: str) -> dict[str, Any]:
    """`a[b]=1&c[]=2` is {"a": {"b": "1"}, "c": ["2"]}."""
    tree: dict[str, Any] = {}
    for n, (name, value) in enumerate(parse_qsl(text, keep_blank_values=True)):
        first, *inner = [name.partition("[")[0], *re.findall(r"\[([^\]]*)\]", name)]
        node, last = tree, first
        for part in inner:
            node = node.setdefault(last, {})
            if not isinstance(node, dict):
                raise invalid(f"Invalid parameter: {name}", name)
            last = part or str(n)
        node[last] = value
    return {name: _lists(value) for name, value in tree.items()}


def write(form: dict[str, Any]) -> str:
    """The reverse of parse(); None is left out."""
    return urlencode(list(_pairs(form)))


def read(table: dict[str, Any], form: dict[str, Any], within: str = "") -> dict[str, Any]:
    """The form's values in their kinds. Raises StripeError."""
    kinds = {name.rstrip("!"): kind for name, kind in table.items()}
    for name in form:
        if name not in kinds:
            path = f"{within}[{name}]" if within else name
            raise invalid(f"Received unknown parameter: {path}", path, "parameter_unknown")
    for name in table:
        if name.endswith("!") and form.get(name[:-1], "") == "":
            raise invalid(f"Missing required param: {name[:-1]}.", name[:-1], "parameter_missing")
    return {
        name: _value(kinds[name], value, f"{within}[{name}]" if within else name)
        for name, value in form.items()
    }


def _value(kind: Any, value: Any, path: str) -> Any:
    if kind is METADATA:
        return _metadata(value, path)
    if isinstance(kind, dict) and isinstance(value, dict):
        return read(kind, value, path)
    if isinstance(kind, list) and isinstance(value, list):
        return [_value(kind[0], one, path) for one in value]
    if isinstance(kind, dict | list) or not isinstance(value, str):
        raise invalid(f"Invalid value for {path}", path)
    if kind is int and not re.fullmatch(r"-?\d{1,18}", value):
        raise invalid(f"Invalid integer: {value}", path, "parameter_invalid_integer")
    if kind is bool and value not in ("true", "false"):
        raise invalid(f"Invalid boolean: {value}", path)
    return value == "true" if kind is bool else kind(value)


def _metadata(value: Any, path: str) -> dict[str, str]:
    if value == "":
        return {}
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise invalid("Metadata values must be strings", path)
    if len(value) > _MOST_KEYS:
        raise invalid(f"Metadata can have at most {_MOST_KEYS} keys", path)
    for key, text in value.items():
        if len(key) > _LONGEST_KEY or len(text) > _LONGEST_VALUE:
            raise invalid(f"Metadata is too long: {key[:_LONGEST_KEY]}", path)
    return value


def _lists(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    if tree and all(name.isdecimal() for name in tree):
        return [_lists(tree[name]) for name in sorted(tree, key=int)]
    return {name: _lists(value) for name, value in tree.items()}


def _pairs(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _pairs(inner, f"{path}[{name}]" if path else name)
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner, f"{path}[]")
    elif value is not None:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)
