"""What cards may charge for while nobody can be asked: capped, over power cuts, until the backend
has the records."""


from host_tests.e2e.charger import check, outcome, session, step, tap
from host_tests.e2e.test_authorise import ANSWER, asked

ANNE, BERT = "04BBBBBBBBBB80", "04CCCCCCCCCC80"
OF_CARD = "Not possible: | offline limit of the | card is reached"
OF_CHARGER = "Not possible: | offline limit of the | charger is reached"


def charge(at, uid, minutes=0.5):
    return session(at, minutes).replace("04A2243B6C5E80", uid)


def test_caps_hold_over_a_power_cut_and_go_with_the_acknowledgement(tmp_path):
    config = "offline_floor_minor = 1500\noffline_token_minor = 2000\n"
    config += "offline_charger_minor = 2900"
    steps = step(5, "backend", state="stop")
    steps += charge(10, ANNE)  # 1500
    steps += charge(100, ANNE)  # 500 are left of the card's 2000
    steps += tap(200, ANNE)
    # 900 are left of the charger's 2900; the power is cut in that session
    steps += tap(220, BERT) + step(225, "plug", kw=11.0) + step(260, "kill") + step(265, "boot")
    steps += step(300, "unplug") + tap(310, BERT) + tap(330, ANNE)
    steps += step(350, "backend", state="start") + charge(420, ANNE) + step(500, "end")
    with asked(tmp_path, ANSWER, config, trickle_s=1.0, steps=steps, bits=32) as (playing, _):
        result = outcome(playing, tmp_path / "out")
    check(result, 4)
    assert [record["auth"]["ceiling_minor"] for record in result.records] == [1500, 500, 900, 1500]
    said = [(row["at"], " | ".join(text.strip() for text in row["lines"]))
            for row in result.display]  # fmt: skip
    refused = [(at, text.rstrip(" |")) for at, text in said if text.startswith("Not possible")]
    assert [text for _, text in refused] == [OF_CARD, OF_CHARGER, OF_CARD]
    for (at, _), tapped in zip(refused, (200, 310, 330), strict=True):
        assert tapped < at < tapped + 10
    assert result.events.count("start_refused") == 3


def test_nobody_charges_unasked_where_the_policy_says_so(tmp_path):
    config = 'offline = "refuse"\noffline_floor_minor = 1500'
    with asked(tmp_path, ANSWER, config, trickle_s=1.0, minutes=0.5) as (playing, _):
        result = outcome(playing, tmp_path / "out")
    assert result.records == [] and result.truth["sessions"] == []
    assert "Not possible: | card cannot be | checked now" in result.shown()
