import pytest

from host_tests.tillback.api.client import Api


@pytest.fixture
def api(tmp_path):
    """The payment API on an empty database."""
    made = Api(tmp_path)
    yield made
    made.database.close()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    """The payment API for tests that leave nothing behind, since all of it is refused."""
    made = Api(tmp_path_factory.mktemp("refusing"))
    made.add_charger()
    yield made
    made.database.close()
