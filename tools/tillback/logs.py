"""Structured logs: a line an event, as text for people or as JSON for a log store.

What `logging.getLogger(...)` is given goes through here, ours and the libraries'. Nothing that is
secret leaves: neither under a name that says so, nor in the forms in which our secrets travel."""

import logging
import re
import sys
from typing import Any

import structlog

FORMS = ("text", "json")
_SECRET = re.compile(r"(?i)password|secret|authorization|_key$|^key$|api.?key|token_key|cookie")
# A URL's password, a bearer token, a webhook's or Stripe's secret.
_PATTERNS = (
    (re.compile(r"(\w+://[^\s:/@]*):[^\s@/]+@"), r"\1:***@"),
    (re.compile(r"(?i)\b(bearer|basic) [\w.~+/=-]+"), r"\1 ***"),
    (re.compile(r"\b(tb_[A-Za-z0-9]+_|whsec_|[rs]k_(?:live|test)_)[A-Za-z0-9_-]+"), r"\1***"),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # what a peer could forge a line with
_OF_SEVERAL_LINES = ("exception", "stack")
_QUIET = ("alembic", "amqtt", "transitions", "stripe", "httpx", "uvicorn")


def configure(form: str = "text", level: int = logging.INFO) -> None:
    """Has everything that is logged from now on written to standard error. form: of FORMS."""
    # What comes before rendering, for our own and for foreign events alike.
    shared: list[Any] = [
        structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]  # fmt: skip
    last: list[Any] = (
        [structlog.processors.format_exc_info, hide, structlog.processors.JSONRenderer()]
        if form == "json"
        else [structlog.processors.format_exc_info, hide,
              structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)]
    )  # fmt: skip
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    ))  # fmt: skip
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def hide(_: Any, __: str, said: dict[str, Any]) -> dict[str, Any]:
    """structlog processor: takes secrets out of an event."""
    return {
        key: "***" if _SECRET.search(key) and value
        else _clean(value, key not in _OF_SEVERAL_LINES)
        for key, value in said.items()
    }  # fmt: skip


def _clean(value: Any, in_one_line: bool) -> Any:
    if not isinstance(value, str):
        if isinstance(value, int | float | bool | None):
            return value
        value = str(value)
    for pattern, by in _PATTERNS:
        value = pattern.sub(by, value)
    return _CONTROL.sub(_escaped, value) if in_one_line else value


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
