import pytest

from host_tests.tillback.api.client import Api


@pytest.fixture
def api(tmp_path):
    """The payment API on an empty database."""
    made = Api(tmp_path)
    yield made
    made.database.close()
