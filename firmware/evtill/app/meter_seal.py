"""The meter's own signature over a session, from meters that make one: begun before energy flows,
ended and read when none does any more. What it signs is passed on unchanged."""

from evtill.core import ocmf
from evtill.core.errors import MeterError, ModbusError
from evtill.core.text import quote
from evtill.drivers import iskra


async def begin(meter, charger, auth, unix_ms):
    """Begins the meter's signed session. auth: as in the record. unix_ms: now, or None: a meter
    is told no time that nobody knows. Returns why it cannot be, None when it is begun."""
    if unix_ms is None:
        return "clock is not set"
    dataset = '{"FV":"1.0","GI":"evtill","GS":%s,%s"CT":"EVSEID","CI":%s}' % (
        quote(charger), ocmf.identification(auth), quote(charger),
    )  # fmt: skip
    try:
        for last in (False, True):
            try:
                await iskra.begin(
                    meter.master, meter.address, dataset.encode(), unix_ms // 1000
                )  # fmt: skip
                return None
            except MeterError:
                if last:
                    raise
                await iskra.end(meter.master, meter.address)  # one that a power cut has left
    except (MeterError, ModbusError) as e:
        return str(e)


async def end(meter):
    """Ends it. Returns (its OCMF string, None), or (None, why there is none)."""
    try:
        await iskra.end(meter.master, meter.address)
        return str(await iskra.read_ocmf(meter.master, meter.address), "ascii"), None
    except (MeterError, ModbusError) as e:
        return None, str(e)
