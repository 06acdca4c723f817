"""Cards at a whole charger: who proves themselves, who is refused, and a reader that fails."""

import pytest

from host_tests.e2e.charger import CARD, HEAD, check, run, step, tap

KEY = "00112233445566778899aabbccddeeff"
AES = f'[config]\ncard_key = "{KEY}"\nleast_assurance = "aes"\n'
ASKED = f'[config]\ncard_key = "{KEY}"\n'


def touch(at, card, key="right", uid=CARD, **more):
    return step(at, "tap", uid=uid, card=card, key=key, **more)


@pytest.mark.parametrize(("kind", "bits"), [("ntag424", 32), ("desfire", 64)])
def test_a_card_that_proves_itself_charges_and_the_record_says_so(tmp_path, kind, bits):
    text = HEAD + AES + touch(5, kind) + step(8, "plug", kw=11) + touch(300, kind)
    result = run(tmp_path, text + step(330, "end"), bits=bits)
    check(result)
    record = result.records[0]
    assert record["auth"]["assurance"] == "aes" and record["stop_reason"] == "Local"
    assert '"IL":"SECURE","IF":["RFID_PSK"]' in record["ocmf"]


def test_a_card_that_hides_its_uid_is_known_by_its_true_one(tmp_path):
    text = HEAD + AES + touch(5, "ntag424", hidden=True) + step(8, "plug", kw=11)
    result = run(tmp_path, text + touch(120, "ntag424", hidden=True) + step(150, "end"))
    check(result)
    assert result.records[0]["auth"]["assurance"] == "aes"


@pytest.mark.parametrize("clone", [{"card": "uid"}, {"card": "ntag424", "key": "wrong"},
                                   {"card": "desfire", "key": "none"}])  # fmt: skip
def test_a_clone_with_the_right_uid_and_no_key_is_refused(tmp_path, clone):
    """It neither starts a session nor stops that of the genuine card."""
    clone = {"key": "right", **clone}
    text = HEAD + AES + step(3, "plug", kw=11) + touch(5, **clone)
    text += touch(20, "ntag424") + touch(60, **clone) + touch(180, "ntag424")
    result = run(tmp_path, text + step(210, "end"))
    check(result)
    assert result.records[0]["clock"]["duration_ms"] > 150_000
    refusals = {"card_unproven", "card_refused"} & set(result.events)
    assert len(refusals) == 1
    assert "Not possible: | card is not genuine" in result.shown()


def test_where_config_asks_for_nothing_a_plain_uid_still_charges(tmp_path):
    text = HEAD + ASKED + tap(5) + step(8, "plug", kw=11) + tap(120) + step(150, "end")
    result = run(tmp_path, text)
    check(result)
    assert result.records[0]["auth"]["assurance"] == "uid"
    assert '"IL":"HEARSAY","IF":["RFID_PLAIN"]' in result.records[0]["ocmf"]


def test_a_wrong_key_is_refused_even_where_a_plain_uid_charges(tmp_path):
    text = HEAD + ASKED + step(3, "plug", kw=11) + touch(5, "desfire", "wrong") + step(60, "end")
    result = run(tmp_path, text)
    assert result.records == [] and "card_refused" in result.events


def test_three_failures_lock_a_card_out_for_a_while(tmp_path):
    text = HEAD + AES + step(3, "plug", kw=11)
    for at in (5, 10, 15):
        text += touch(at, "ntag424", "wrong")
    text += touch(20, "ntag424") + touch(320, "ntag424") + touch(400, "ntag424")
    result = run(tmp_path, text + step(430, "end"))
    check(result)
    assert result.events.count("card_refused") == 2 and result.events.count("card_locked") == 2
    assert "card is locked for | some minutes" in result.shown()


@pytest.mark.parametrize("config", ["", ASKED])
def test_phones_and_random_uids_are_never_matched(tmp_path, config):
    """Not even where such a UID stands in the list."""
    head = HEAD.replace(f'"{CARD}"', f'"{CARD}", "08112233", "01020304"')
    text = head + config + step(3, "plug", kw=11) + tap(5, "08112233") + tap(15, "01020304")
    text += touch(25, "phone") + step(60, "end")
    result = run(tmp_path, text)
    assert result.records == [] and result.truth["sessions"] == []
    assert result.events.count("card_anonymous") == 3


def test_a_card_taken_away_too_soon_is_asked_for_again(tmp_path):
    text = HEAD + AES + step(3, "plug", kw=11)
    for i, held_ms in enumerate((20, 30, 40, 50)):
        text += touch(5 + 5 * i, "ntag424", hidden=True, held_ms=held_ms)
    text += touch(60, "ntag424", hidden=True) + touch(120, "ntag424", hidden=True)
    result = run(tmp_path, text + step(150, "end"))
    check(result)
    assert "hold your card" in result.shown()
    assert "card_locked" not in result.events and "card_refused" not in result.events


@pytest.mark.parametrize("state", ["reset", "hang", "unplug"])
def test_a_reader_that_fails_is_reported_and_comes_back(tmp_path, state):
    text = HEAD + tap(5) + step(8, "plug", kw=11) + step(60, "reader", state=state)
    text += step(150, "reader", state="ok") + tap(200) + step(230, "end")
    result = run(tmp_path, text)
    check(result)
    assert result.records[0]["stop_reason"] == "Local"
    assert result.events.count("reader_fault") == result.events.count("reader_back") == 1


def test_a_card_whose_reader_fails_in_the_middle(tmp_path):
    text = HEAD + AES + step(3, "plug", kw=11)
    for i, ms in enumerate(range(10, 130, 20)):
        text += touch(10 + 20 * i, "desfire", held_ms=3000)
        text += step(10 + 20 * i + ms / 1000, "reader", state="reset")
        text += step(18 + 20 * i, "unplug") + step(19 + 20 * i, "plug", kw=11)
    result = run(tmp_path, text + step(200, "end"))
    assert len(result.records) == len(result.truth["sessions"])
    assert "task_restarted" not in result.events
    assert result.verify() == 0 if result.records else True
