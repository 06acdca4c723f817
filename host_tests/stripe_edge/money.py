"""Amounts that Stripe takes (docs.stripe.com/currencies), and what it keeps of them.

All are integers in Stripe's unit of the currency, which is not ISO 4217's everywhere."""

import re

from host_tests.stripe_edge.errors import invalid

MINIMUM = {  # of a charge that is paid out in the same currency; 1 where none is listed
    "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250, "eur": 50,
    "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300,
    "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000, "usd": 50,
}  # fmt: skip
MAXIMUM = 99_999_999
# ISK and UGX have no decimals, yet amounts are in hundredths; five currencies have three decimals,
# of which the last is to be 0.
MULTIPLE = {"isk": 100, "ugx": 100, "bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10}
FEE_BASIS_POINTS, FEE_FIXED = 150, 25
DISPUTE_FEE = 2000


def check_currency(currency: str) -> str:
    if not re.fullmatch("[a-zA-Z]{3}", currency):
        raise invalid(f"Invalid currency: {currency}", "currency")
    return currency.lower()


def check_amount(amount: int, currency: str, param: str = "amount") -> None:
    """Raises StripeError for one that cannot be charged or held."""
    if amount < 1:
        raise invalid("This value must be greater than or equal to 1.", param,
                      "parameter_invalid_integer")  # fmt: skip
    if amount < MINIMUM.get(currency, 1):
        raise invalid(f"Amount must be at least {MINIMUM[currency]} {currency}", param,
                      "amount_too_small")  # fmt: skip
    if amount > MAXIMUM:
        raise invalid(f"Amount must be no more than {MAXIMUM} {currency}", param,
                      "amount_too_large")  # fmt: skip
    check_multiple(amount, currency, param)


def check_multiple(amount: int, currency: str, param: str = "amount") -> None:
    of = MULTIPLE.get(currency, 1)
    if amount % of:
        code = "invalid_charge_amount_no_decimal_compatible" if of == 100 else None
        raise invalid(f"Invalid amount. Amounts in {currency.upper()} must be divisible by {of}.",
                      param, code)  # fmt: skip


def fee(amount: int) -> int:
    """1.5 % and 0.25, as for a European card: half up."""
    return (amount * FEE_BASIS_POINTS + 5000) // 10_000 + FEE_FIXED

