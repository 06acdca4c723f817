"""What `make test` samples and `make soak` runs whole."""

import os
from collections.abc import Sequence
from typing import Any

import pytest

MARKS = [
    pytest.mark.soak, pytest.mark.timeout(3600),
    pytest.mark.skipif(not os.environ.get("EVTILL_SOAK"), reason="long: make soak"),
]  # fmt: skip


def sampled(values: Sequence[Any], every: int) -> list[Any]:
    """For parametrize: each `every`th of the values, and the others in a soak."""
    return [
        value if index % every == 0 else pytest.param(value, marks=MARKS)
        for index, value in enumerate(values)
    ]
