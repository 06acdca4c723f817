import itertools
from collections.abc import Iterator

import pytest

from host_tests.chromium import Chromium
from host_tests.programs import program
from host_tests.stripe_edge.localstripe import LocalStripe
from host_tests.stripe_edge.server import Edge
from tillsim.debian import DebianMissing
from tillsim.postgres import Postgres

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    """A headless Chromium, one for all tests of a process."""
    with Chromium(program("chromium")) as started:
        yield started


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, one for all tests of a process; a test that stops it starts it again."""
    try:
        server = Postgres()
    except DebianMissing as e:
        pytest.skip(str(e))
    with server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """SQLAlchemy's URL of an empty PostgreSQL database, the test's own."""
    name = f"test{next(_numbers)}"
    yield postgres.create(name)
    postgres.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLAlchemy's URL of an empty database, the test's own: once on SQLite, once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('tmp_path')}/tillback.sqlite"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(scope="session")
def localstripe() -> Iterator[LocalStripe]:
    """A process of localstripe, one for all tests of a process."""
    with LocalStripe() as started:
        yield started


@pytest.fixture
def stripe_edge(localstripe: LocalStripe) -> Iterator[Edge]:
    """Stripe, with an account that is the test's own."""
    with Edge(localstripe) as edge:
        yield edge
