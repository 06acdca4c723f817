"""What the token list says of a card decides: group, block, expiry, ceiling, free of charge."""

from host_tests.e2e.charger import check, run, session, step, tap

MINE, PARTNER, BLOCKED, OVER, LIMITED, GIFT, LATER = (f"04A2243B6C5E8{n}" for n in range(7))
CSV = f"""uid,group,expires,flags,ceiling_minor
{MINE},fleet,2026-03-02,,
{PARTNER},fleet,,,
{BLOCKED},fleet,,blocked,
{OVER},fleet,2026-03-01,,
{LIMITED},,,prepaid,200
{GIFT},,,free,
{LATER},depot,,,1
"""
HEAD = 'start = "2026-03-02T07:14:00Z"\ntokens = "cards.csv"\n'


def test_the_list_decides(tmp_path):
    (tmp_path / "cards.csv").write_text(
        CSV + "".join(f"05{n:012x},group-{n % 40},2026-12-31,,\n" for n in range(2000))
    )
    foreign = [tap(60 + 60 * n, uid) for n, uid in enumerate((BLOCKED, OVER, LIMITED, "AABBCCDD"))]
    text = (
        HEAD
        # Its partner alone stops what it has started: not those of its group that may not charge.
        + tap(5, MINE) + step(8, "plug", kw=11.0) + "".join(foreign) + tap(305, PARTNER)
        + step(320, "unplug")
        + tap(400, BLOCKED) + tap(460, OVER) + tap(520, "AABBCCDD")
        # 2.00 EUR are about 4 kWh: long before the quarter of an hour is over.
        + tap(600, LIMITED) + step(603, "plug", kw=22.0) + step(1500, "unplug")
        + session(1600, 3).replace("04A2243B6C5E80", GIFT)
        + tap(1880, LATER) + step(1883, "plug", kw=11.0) + step(1940, "unplug")
        + step(1980, "end")
    )  # fmt: skip
    result = run(tmp_path, text, bits=64)
    check(result, 3)
    fleet, limited, gift = result.records
    assert fleet["stop_reason"] == "Local" and fleet["auth"]["method"] == "rfid"
    assert abs(fleet["total_time_ms"] - 300000) < 5000
    assert limited["stop_reason"] == "CostLimitReached"
    assert limited["auth"]["method"] == "prepaid" and limited["auth"]["ceiling_minor"] == 200
    assert 150 < limited["total_cost"]["incl_minor"] <= 200
    assert gift["flags"] == ["free"] and gift["total_cost"]["incl_minor"] > 0
    events = result.events
    assert events.count("token_blocked") == 1 and events.count("token_expired") == 1
    assert events.count("token_unknown") == 1
    shown = result.shown()
    for words in ("blocked", "expired", "not known", "credit"):
        assert words in shown


def test_an_expiring_card_waits_for_the_clock(tmp_path):
    (tmp_path / "cards.csv").write_text(CSV)
    text = 'tokens = "cards.csv"\n[config]\nntp_host = ""\n' + tap(5, MINE) + tap(60, PARTNER) + (
        step(63, "plug", kw=11.0) + tap(400, PARTNER) + step(410, "unplug") + step(450, "end")
    )  # fmt: skip
    result = run(tmp_path, text, bits=64)
    assert [record["auth"]["assurance"] for record in result.records] == ["uid"]
    assert result.records[0]["stop_reason"] == "Local"
    assert "clock is not set" in result.shown()
