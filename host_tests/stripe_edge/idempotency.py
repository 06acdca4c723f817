"""What became of each Idempotency-Key (docs.stripe.com/api/idempotent_requests,
docs.stripe.com/error-low-level)."""

import threading
from dataclasses import dataclass

from host_tests.stripe_edge.errors import invalid, other

KEPT_S = 24 * 3600
LONGEST = 255


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


@dataclass
class _Kept:
    path: str
    form: str
    since_s: float
    answer: Answer | None = None  # None: at work on it


class Keys:
    """Every key of an account of the last 24 hours, with its first answer."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def begin(self, key: str, path: str, form: str, now_s: float) -> Answer | None:
        """The answer that this request had before; None where it is to be executed, after which
        comes end(). Raises StripeError for a key of another request, or of one under way."""
        form = "&".join(sorted(form.split("&")))  # their order says nothing
        if len(key) > LONGEST:
            raise invalid(f"Idempotency keys have at most {LONGEST} characters")
        with self._lock:
            kept = self._kept.get(key)
            if kept and kept.answer and now_s - kept.since_s >= KEPT_S:
                kept = None
            if kept is None:
                self._kept[key] = _Kept(path, form, now_s)
                return None
            if kept.path != path:
                raise other(400, "idempotency_error", f"This key is one for {kept.path}.")
            if kept.form != form:
                raise other(400, "idempotency_error",
                            "This key was first used with other parameters.")  # fmt: skip
            if kept.answer is None:
                raise other(409, "invalid_request_error",
                            "Another request with this key is in progress.",
                            "idempotency_key_in_use")  # fmt: skip
            return kept.answer

    def end(self, key: str, answer: Answer | None) -> None:
        """Keeps a request's answer. None: there is nothing to keep, the key is free."""
        with self._lock:
            if answer is None:
                del self._kept[key]
            else:
                self._kept[key].answer = answer
