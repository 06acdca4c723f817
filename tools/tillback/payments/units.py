"""What a provider can move: whole multiples of a unit, and from some amount on."""

# {provider: {currency: minor units}}, 1 where none is said. docs.stripe.com/currencies: those of
# three decimals, whose last must be 0; and MGA, of which Stripe knows no hundredths.
UNITS: dict[str, dict[str, int]] = {
    "stripe": {"BHD": 10, "JOD": 10, "KWD": 10, "OMR": 10, "TND": 10, "MGA": 100},
}
# The least that can be held or captured, 1 unit where none is said. docs.stripe.com/currencies,
# minimum charge amounts.
LEAST: dict[str, dict[str, int]] = {
    "stripe": {
        "AED": 200, "AUD": 50, "BGN": 100, "BRL": 50, "CAD": 50, "CHF": 50, "CZK": 1500,
        "DKK": 250, "EUR": 50, "GBP": 30, "HKD": 400, "HUF": 17500, "INR": 50, "JPY": 50,
        "MXN": 1000, "MYR": 200, "NOK": 300, "NZD": 50, "PLN": 200, "RON": 200, "SEK": 300,
        "SGD": 50, "THB": 1000, "USD": 50,
    },
}  # fmt: skip


def unit_minor(provider: str, currency: str) -> int:
    """In ISO 4217's minor units of the currency."""
    return UNITS.get(provider, {}).get(currency, 1)


def least_minor(provider: str, currency: str) -> int:
    """The least that can be held, or captured."""
    return LEAST.get(provider, {}).get(currency, unit_minor(provider, currency))


def movable_minor(provider: str, currency: str, amount_minor: int) -> int:
    """What of an amount the provider can move, as far as its unit goes."""
    return amount_minor - amount_minor % unit_minor(provider, currency)
