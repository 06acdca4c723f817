"""What the short names in a record mean, for whoever pays the bill."""

FLAGS = {
    "clock_unset": "The charger's clock was not set: the times are unknown, the duration is right.",
    "clock_set_late": "The clock was set during the session; the earlier times were put right.",
    "clock_stepped": "The clock was corrected during the session; the duration is not affected.",
    "start_reading_late": "The first meter reading was taken some time after the start.",
    "end_reading_late": "The meter was read after the end, when it answered again.",
    "end_reading_missing": "The meter did not answer at the end: billed to its last good reading.",
    "edge_interpolated": "The reading at a change of price was worked out from those around it.",
    "meter_gap": "The meter did not answer for a while; its register counted on.",
    "meter_rollback": "The meter's register went backwards; that part was not billed.",
    "meter_jump": "The meter's register made an impossible jump; it needs to be looked at.",
    "meter_rollover": "The meter's register reached its end and began again at zero.",
    "meter_reset": "The meter began again at zero; billed to its last reading before that.",
    "meter_frozen": "The meter's register stood still while power flowed; it needs a look.",
    "meter_disagrees": "The meter's energy and its power disagreed for a while; billed by energy.",
    "meter_replaced": "The meter was replaced; billed to the last reading of the first one.",
    "power_cut": "The power failed during the session.",
    "resumed": "The session went on after the charger had started again.",
    "closed_at_boot": "The session was closed when the charger started again.",
    "contactor_welded": "The charger's switch did not open at the end.",
    "ceiling": "The session was ended ahead of its agreed limit.",
    "pagination_skipped": "A number was skipped in the meter records; none was used twice.",
    "amended": "This record was amended by a later one.",
    "free": "Charging is free with this card: nothing of this is collected.",
    "reservation_cancelled": "A reservation that was cancelled. Nobody charged.",
    "reservation_expired": "A reservation for which nobody came in time. Nobody charged.",
    "meter_unsigned": "The meter's own signature is missing; the charger has signed its readings.",
}

STOP_REASONS = {
    "Local": "stopped at the charger",
    "Remote": "stopped remotely",
    "DeAuthorized": "the authorisation was withdrawn",
    "EVDisconnected": "unplugged",
    "EnergyLimitReached": "the agreed energy was reached",
    "TimeLimitReached": "the agreed time was reached",
    "CostLimitReached": "the agreed amount was reached",
    "EmergencyStop": "emergency stop",
    "PowerLoss": "the power failed",
    "Reboot": "the charger started again",
    "GroundFault": "a ground fault",
    "Other": "other",
    "MeterFault": "the meter failed",
    "TillFault": "the charger's till failed",
}

METHODS = {
    "rfid": "charging card", "app": "app", "card": "bank card", "wallet": "wallet on a phone",
    "prepaid": "prepaid card", "terminal": "payment terminal",
}  # fmt: skip

ASSURANCES = {
    "uid": "recognised by its number",
    "aes": "proved by its own key",
    "app": "confirmed by the operator",
    "card": "confirmed by the payment provider",
}

# OCMF's letters for how far a time can be trusted (table 9).
CLOCKS = {
    "S": "synchronised clock",
    "I": "clock not synchronised of late",
    "U": "clock not set",
    "R": "clock relative to a fixed point",
}

DIMENSIONS = {
    "ENERGY": "Energy", "TIME": "Charging time", "PARKING_TIME": "Connected without charging",
    "FLAT": "Session fee", "RESERVATION_TIME": "Reservation", "RESERVATION_FLAT": "Reservation fee",
    "MIN_PRICE": "Raised to the minimum price", "MAX_PRICE": "Lowered to the maximum price",
    "CEILING": "Lowered to the agreed limit",
}  # fmt: skip
