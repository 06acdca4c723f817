"""Errors as Stripe answers them (docs.stripe.com/api/errors, /error-codes)."""

from typing import Any


class StripeError(Exception):
    """status: of HTTP; error: the object of that name in the body. began: whether the endpoint had
    begun its work, from when on the answer is kept under the request's key (/error-low-level)."""

    def __init__(self, status: int, error: dict[str, Any], began: bool) -> None:
        super().__init__(error["message"])
        self.status = status
        self.error = error
        self.began = began


def invalid(message: str, param: str | None = None, code: str | None = None,
            status: int = 400) -> StripeError:  # fmt: skip
    """A request that is wrong in itself."""
    return StripeError(status, _error("invalid_request_error", message, code, param=param), False)


def refused(message: str, code: str | None = None, **more: Any) -> StripeError:
    """A request that cannot be met as things stand."""
    return StripeError(400, _error("invalid_request_error", message, code, **more), True)


def declined(message: str, code: str, decline_code: str | None, **more: Any) -> StripeError:
    """The card's bank says no."""
    return StripeError(
        402, _error("card_error", message, code, decline_code=decline_code, **more), True
    )


def missing(what: str, id: str) -> StripeError:
    return invalid(f"No such {what}: '{id}'", "id", "resource_missing", 404)


def other(status: int, type: str, message: str, code: str | None = None) -> StripeError:
    return StripeError(status, _error(type, message, code), False)


def _error(type: str, message: str, code: str | None, **more: Any) -> dict[str, Any]:
    error = {"type": type, "message": message, "code": code, **more}
    return {name: value for name, value in error.items() if value is not None}
