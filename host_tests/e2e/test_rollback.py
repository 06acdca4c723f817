"""A flash image put back to an older state, and a meter that another one took the place of."""

import shutil

from host_tests.e2e.charger import HEAD, charger, check, outcome, session, step

KEPT_S, BACK_S = 130, 320  # when the image is copied, and when the copy is put back


def test_an_older_flash_image_is_noticed_by_board_and_backend(tmp_path):
    """Sessions 1 and 2; the board gets its flash of after session 1 back; session 2 again."""
    text = HEAD + session(5, 1) + step(KEPT_S - 5, "kill") + step(KEPT_S + 5, "boot")
    text += session(150, 2) + step(BACK_S - 5, "kill") + step(BACK_S + 5, "boot")
    text += session(340, 1) + step(440, "end")
    with charger(tmp_path, text) as playing:
        image = playing.charger.board.image
        kept = tmp_path / "kept.img"
        playing.besides += [
            (KEPT_S * 1000, lambda: shutil.copyfile(image, kept)),
            (BACK_S * 1000, lambda: shutil.copyfile(kept, image)),
        ]
        playing.run()
        result = outcome(playing, tmp_path / "out")
        alarms = {alarm.name for alarm in playing.charger.store.alarms()}
        refused = playing.charger.store.refusals()
        said = playing.charger.console.decode()
    assert len(result.truth["sessions"]) == 3  # the driver is served all the same
    assert [record["seq"] for record in result.records] == [1, 2]
    assert result.records[1]["total_energy_wh"] > 300  # the first one of that number stands
    assert alarms >= {"same_seq_other_content", "boot_count_back", "refused"}
    assert any(row.topic.endswith("/usage") for row in refused)
    assert "event: rollback_suspected" in said and "event: record_set_aside" in said


def test_an_honest_register_raises_no_suspicion(tmp_path):
    text = HEAD + session(5, 3) + session(220, 3) + step(420, "kill") + step(430, "boot")
    text += session(450, 3) + step(660, "end")
    with charger(tmp_path, text) as playing:
        playing.run()
        result = outcome(playing, tmp_path / "out")
        assert playing.charger.store.alarms() == []
    check(result, sessions=3)
    assert [record["flags"] for record in result.records] == [[], [], []]
    assert not {"rollback_suspected", "meter_rollback", "meter_foreign"} & set(result.events)
