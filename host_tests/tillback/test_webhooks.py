"""URLs that news are sent to; docs/api.md's own example checks their signature."""

import pytest

from tillback import webhooks
from tillback.webhooks import WebhookError


@pytest.mark.parametrize("given", [
    "http://example.com/", "https://", "https:///x", "ftp://example.com", "https://a:b@example.com",
    "https://a@example.com", "https://example.com/#x", "https://example.com:0/",
    "https://example.com:99999/", "https://exa mple.com/", "https://example.com\\@evil/",
    "https://ex\u00e4mple.com/", "https://[::1", "javascript:alert(1)", "https://example.com/\n",
])  # fmt: skip
def test_a_url_that_nothing_is_sent_to(given):
    with pytest.raises(WebhookError):
        webhooks.check_url(given)


@pytest.mark.parametrize("given", [
    "https://example.com", "https://example.com:8443/a/b?c=d&e=%20", "https://192.0.2.1/hook",
])  # fmt: skip
def test_a_url_that_something_may_be_sent_to(given):
    assert webhooks.check_url(given).geturl() == given
