"""Whole sessions with other meters of the catalogue, from provisioning to the verified record."""

import pytest

from host_tests.e2e.charger import HEAD, check, run, session, step


@pytest.mark.parametrize(
    ("model", "vendor", "more"),
    [("em340", "Carlo Gavazzi", ""), ("b23", "ABB", ""),
     ("pac2200", "Siemens", 'meter_serial = "LQN/1"\n'), ("wm3m4", "Iskra", "")],
)  # fmt: skip
def test_a_session_by_another_meter(tmp_path, model, vendor, more):
    """The EM340 counts 0.1 kWh: a step of its register is no jump."""
    text = HEAD + f'[config]\nmeter_model = "{model}"\n{more}' + session(5, 40)
    result = run(tmp_path, text + step(2600, "end"))
    check(result)
    record = result.records[0]
    assert record["meter"]["model"] == model
    assert record["meter"]["serial"] == ("LQN/1" if more else "1234567")
    assert record["meter"]["end_wh"] > record["meter"]["start_wh"]
    assert f'"MV":"{vendor}"' in record["ocmf"]
    assert record["flags"] == []
