"""Programs that some tests need, installed or fetched."""

import pytest

from tillsim import debian


def program(name: str) -> list[str]:
    """As debian.program(); where it cannot be had, the test is skipped and says why."""
    try:
        return debian.program(name)
    except debian.DebianMissing as e:
        pytest.skip(str(e))
