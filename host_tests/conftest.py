from collections.abc import Iterator

import pytest

from host_tests.chromium import Chromium
from host_tests.programs import program


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    """A headless Chromium, one for all tests of a process."""
    with Chromium(program("chromium")) as started:
        yield started
