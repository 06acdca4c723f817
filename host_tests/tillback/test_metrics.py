"""/metrics is Prometheus' own format, and what it says of the database is what is there."""

from prometheus_client.parser import text_string_to_metric_families

from tillback.db import tables
from tillback.db.database import Database, now
from tillback.metrics import Metrics


def values(metrics):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_counters_and_the_state_of_the_database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/x.sqlite")
    metrics = Metrics(database)
    assert values(metrics)[("tillback_alarms",)] == 0
    with database.write() as session:
        session.add(tables.Alarm(charger="C", name="n", detail="d", raised_at=now()))
        session.add(tables.Charger(id="C", public_key_pem="", ack_key=b"", registered_at=now()))
        session.flush()
        session.add(tables.ChainGap(charger="C", seq=7, since_at=now()))
    metrics.watch(lambda: {"stored": 3, "refused": 1})
    metrics.acknowledgement_s.observe(0.02)
    found = values(metrics)
    assert found[("tillback_alarms",)] == found[("tillback_chain_gaps",)] == 1
    assert found[("tillback_messages_total", ("outcome", "stored"))] == 3
    assert found[("tillback_messages_total", ("outcome", "refused"))] == 1
    assert found[("tillback_acknowledgement_seconds_count",)] == 1
    database.close()
    assert "tillback_alarms" not in dict.fromkeys(name for name, *_ in values(Metrics()))
