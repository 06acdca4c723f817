"""The application as a whole: its documentation, and that nothing is open by mistake."""

import re

from host_tests.tillback.api.client import problem
from tillback.api import keys


def test_the_documentation_loads_nothing_from_elsewhere(api):
    page = api.get("/docs", key="")
    assert page.status_code == 200 and "http://" not in page.text and "https://" not in page.text
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(linked) == 3
    for one in linked:
        assert api.get(one, key="").status_code == 200


def operations(api):
    for path, methods in api.get("/openapi.json", key="").json()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def filled(path):
    return path.replace("{", "").replace("}", "")


def test_every_path_of_the_api_wants_a_key(api):
    seen = list(operations(api))
    assert len(seen) >= 2
    for method, path, operation in seen:
        assert path.startswith("/v1/") and operation["security"] == [{"key": []}]
        assert api.ask(method, filled(path), key="").status_code == 401


def test_every_path_of_the_api_wants_a_scope(api):
    """One of them, before anything is looked at; and each scope opens something."""
    given = {scope: api.new_key(scope) for scope in keys.SCOPES}
    opened = set()
    for method, path, _ in operations(api):
        allowed = [scope for scope, key in given.items()
                   if api.ask(method, filled(path), key=key).status_code != 403]  # fmt: skip
        assert len(allowed) == 1, (method, path, allowed)
        opened |= set(allowed)
    assert opened == set(keys.SCOPES)


def test_every_error_is_described_as_a_problem(api):
    for _, _, operation in operations(api):
        for status, answer in operation["responses"].items():
            if status >= "400":
                assert list(answer["content"]) == ["application/problem+json"]


def test_a_method_that_is_not_allowed_is_told_which_are(api):
    for path, allowed in (("tokens/0123456789abcdef", "DELETE, GET, PUT"), ("tokens", "GET"),
                          ("webhook-endpoints", "GET, POST")):  # fmt: skip
        for method in ("PATCH", "OPTIONS", "TRACE", "BREW"):
            answer = api.ask(method, f"/v1/{path}")
            problem(answer, 405, "method-not-allowed")
            assert answer.headers["Allow"] == allowed


def test_every_problem_explains_itself(api):
    table = api.get("/problems", key="").json()
    for one in table:
        assert api.get(one["type"], key="").json() == one
    assert api.get("/problems/none", key="").status_code == 404
