"""What bounds a car's current beside the charger itself: its cable, and heat. Integers only."""

_LEAST_A = 6  # IEC 61851-1:2017, table A.7: a car cannot be told less
# Table B.2: up to so many ohms a cable is good for so many A; outside there is none, or a short.
_SHORT_OHM = 75
_CABLES = "150 63 330 32 1000 20 2200 13"


def cable_a(ohm):
    """What a cable with this resistor carries, in A; 0: there is none, or it is broken."""
    if ohm >= _SHORT_OHM:
        numbers = [int(number) for number in _CABLES.split()]
        for i in range(0, len(numbers), 2):
            if ohm <= numbers[i]:
                return numbers[i + 1]
    return 0


def derated_a(amperes, celsius, start_c, stop_c):
    """What may be drawn of `amperes` at a temperature: all up to start_c, from there less and less,
    the least at stop_c, and nothing above it."""
    if celsius <= start_c:
        return amperes
    if celsius > stop_c:
        return 0
    less = (amperes - _LEAST_A) * (celsius - start_c)
    return max(_LEAST_A, (amperes * (stop_c - start_c) - less) // (stop_c - start_c))
