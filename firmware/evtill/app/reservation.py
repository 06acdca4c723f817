"""Who has reserved the charger: one at a time, durable, and used up before it is billed.

File reservation.json: {"ref", "method", "token" (16 hex of a card's keyed hash, or null),
"from_ms", "expires_s" (both Unix), and once it was cancelled "ended_ms"}. It goes only when the
session that uses it, or what bills it alone, is durable: a power cut in between leaves both, and
Recovery, which sees the reservation in that session's START, drops it then. Loaded when there is
one and given back: it keeps nothing in the heap.
"""

import json

from evtill.app import files
from evtill.app.access import remote_auth
from evtill.app.bookings import FILE
from evtill.core.errors import TariffError

LATE_S = 300  # so late, nobody is billed for not having come: the charger may have been off


def load(folder):
    """The reservation that is kept, or None. Raises OSError; ValueError for a damaged file."""
    text = files.read(folder + FILE)
    if text is None:
        return None
    found = json.loads(text)
    try:
        good = (
            isinstance(found["ref"], str) and isinstance(found["method"], str)
            and isinstance(found.get("ended_ms", 0), int) and isinstance(found["from_ms"], int)
            and isinstance(found["expires_s"], int)
            and (found["token"] is None or isinstance(found["token"], str))
        )  # fmt: skip
    except (KeyError, TypeError):
        good = False
    if not good:
        raise ValueError("damaged")
    return found


async def close(booking, reserved, folder, till, metering, unix_ms, report):
    """Bills a reservation that is over, where it costs anything, and drops it. reserved: as
    Till.start() takes it. Raises EvtillError (no meter, no room, no tariff), OSError: to be done
    again."""
    name = "reservation_expired" if reserved[2] else "reservation_cancelled"
    detail = booking["ref"]
    if unix_ms - reserved[1] > LATE_S * 1000:
        detail += ": not billed, the charger was off"
    else:
        till.pick_tariff()
        if till.tariff is None:
            raise TariffError("no valid tariff")
        if till.has_fee(reserved):
            serial = await metering.serial()
            reading = await metering.patiently(metering.read)
            auth = remote_auth(booking["method"], booking["token"], booking["ref"], None)
            till.bill_reservation(auth, serial, reading.energy_wh, reserved, name)
    files.remove(folder + FILE)  # before the record: after a boot it would be billed again
    if till.session:
        detail += ": %d minor units" % till.settle()["incl_minor"]
    report(name, detail)
