"""What Prometheus may ask: counters of what went through, and how things stand in the database."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import Select, func, select

from tillback.db.database import Database, now
from tillback.db.tables import (
    Alarm,
    Authorization,
    ChainGap,
    Delivery,
    Refund,
    Refused,
)

# {name: (what it says, its query)}, asked anew at each scrape: small tables, or an index
_GAUGES: dict[str, tuple[str, Callable[[], Select[int]]]] = {
    "chain_gaps": ("Places where a record is missing, for however short a time",
                   lambda: select(func.count()).select_from(ChainGap)),
    "quarantined": ("Messages that were refused and kept",
                    lambda: select(func.count()).select_from(Refused)),
    "alarms": ("Alarms raised", lambda: select(func.count()).select_from(Alarm)),
    "authorizations_due": ("Authorisations whose money waits to be moved",
                           lambda: select(func.count()).where(Authorization.due_at <= now())),
    "refunds_due": ("Refunds that wait",
                    lambda: select(func.count()).where(Refund.due_at.is_not(None))),
    "deliveries_due": ("News that wait for a webhook",
                       lambda: select(func.count()).where(Delivery.due_at.is_not(None))),
}  # fmt: skip
_LATENCIES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """One process's; text() is what /metrics answers."""

    def __init__(self, database: Database | None = None) -> None:
        self.registry = CollectorRegistry()
        self.acknowledgement_s = Histogram(
            "tillback_acknowledgement_seconds", "From a message's arrival to its acknowledgement",
            buckets=_LATENCIES_S, registry=self.registry,
        )  # fmt: skip
        self.requests = Counter("tillback_http_requests", "Requests to the payment API",
                                ["method", "status"], registry=self.registry)  # fmt: skip
        if database is not None:
            self.registry.register(_Standing(database))

    def watch(self, counters: Callable[[], Mapping[str, int]]) -> None:
        """Shows what an ingester counts: {outcome: messages}."""
        self.registry.register(_Counted(counters))

    def text(self) -> bytes:
        """The exposition format, text/plain version 0.0.4."""
        return generate_latest(self.registry)


class _Counted:
    """prometheus-client's custom collector: what became of the chargers' messages."""

    def __init__(self, counters: Callable[[], Mapping[str, int]]) -> None:
        self._counters = counters

    def collect(self) -> Iterable[Metric]:
        """Asks."""
        found = CounterMetricFamily("tillback_messages", "Messages by what became of them",
                                    labels=["outcome"])  # fmt: skip
        for outcome, number in self._counters().items():
            found.add_metric([outcome], number)
        yield found


class _Standing:
    """prometheus-client's custom collector: the gauges, out of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[Metric]:
        """Names alone, so that nothing is read at registration."""
        return [GaugeMetricFamily(f"tillback_{name}", says) for name, (says, _) in _GAUGES.items()]

    def collect(self) -> Iterable[Metric]:
        """Reads them."""
        with self._database.read() as session:
            for name, (says, query) in _GAUGES.items():
                yield GaugeMetricFamily(f"tillback_{name}", says, value=session.scalar(query()))
