"""The smallest amount that a provider can move; every other is a whole multiple of it."""

# {provider: {currency: minor units}}, 1 where none is said. Stripe: docs.stripe.com/currencies,
# three-decimal currencies, whose last digit must be 0, and MGA, which it knows no hundredths of.
UNITS: dict[str, dict[str, int]] = {
    "stripe": {"BHD": 10, "JOD": 10, "KWD": 10, "OMR": 10, "TND": 10, "MGA": 100},
}


def unit_minor(provider: str, currency: str) -> int:
    """In ISO 4217's minor units of the currency."""
    return UNITS.get(provider, {}).get(currency, 1)


def movable_minor(provider: str, currency: str, amount_minor: int) -> int:
    """What of an amount the provider can move."""
    return amount_minor - amount_minor % unit_minor(provider, currency)
