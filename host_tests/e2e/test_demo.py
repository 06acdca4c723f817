"""The demo as a newcomer runs it, Ctrl-C, and the status that the backend keeps."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from host_tests.e2e.charger import HEAD, charger, outcome, session, step
from tillctl.__main__ import main as tillctl

DEMO = [sys.executable, "-m", "tillsim", "demo", "--out"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """(what it printed, its folder)."""
    out = tmp_path_factory.mktemp("demo") / "out"
    done = subprocess.run([*DEMO, str(out)], capture_output=True, text=True, check=False,
                          timeout=200)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, out


def test_it_shows_the_session_the_receipt_and_the_proof(demo):
    said, _ = demo
    for words in ("record key made on the board", "every file checked", "Ready: tap your card",
                  "Charging  ", "Finished  ", "Total", "ok   jws signature",
                  "ok   ocmf signature",
                  "ok   bill: recomputed from the tariff"):  # fmt: skip
        assert words in said
    assert "FAIL" not in said and "Traceback" not in said


def test_it_leaves_what_the_readme_names(demo):
    _, out = demo
    for name in ("receipt.html", "record.jws", "record.ocmf", "charger.pub.pem", "session.json"):
        assert (out / name).stat().st_size > 100
    paid = json.loads((out / "session.json").read_text())
    assert abs(paid["total_energy_wh"] - 12000) < 600
    command = ["verify", f"{out}/record.jws", "--key", f"{out}/charger.pub.pem"]
    assert tillctl([*command, "--tariff", f"{out}/tariff.json"]) == 0
    assert tillctl([*command, "--no-tariff"]) == 0
    assert tillctl(command) == 1  # the bill was not recomputed


def test_a_stranger_reads_the_record(demo):
    import pyocmf

    _, out = demo
    key = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", str(out / "charger.pub.pem"), "-outform", "DER"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    record = pyocmf.OCMF.from_string((out / "record.ocmf").read_text())
    assert record.verify_signature(key.hex())


def test_a_browser_checks_the_record(demo, browser):
    from jwcrypto import jwk

    _, out = demo
    record = (out / "record.jws").read_text().strip()
    key = jwk.JWK.from_pem((out / "charger.pub.pem").read_bytes()).export_public()
    browser.load((Path(__file__).parents[1] / "verify_record.html").read_text())
    assert browser.evaluate(f"verify({json.dumps(record)}, {key})") is True
    middle = len(record) // 2
    other = "A" if record[middle] != "A" else "B"
    forged = record[:middle] + other + record[middle + 1 :]
    assert browser.evaluate(f"verify({json.dumps(forged)}, {key})") is False


def _descendants(pid):
    found, frontier = set(), {pid}
    while frontier:
        children = set()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) in frontier:
                children.add(int(process.name))
        frontier = children - found
        found |= children
    return found


@pytest.mark.parametrize("after_s", [2, 9])
def test_ctrl_c_leaves_no_process_behind(tmp_path, after_s):
    process = subprocess.Popen(
        [*DEMO, str(tmp_path / "out")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as under nohup
    )  # fmt: skip
    time.sleep(after_s)  # somewhere in setting up, somewhere in the session
    children = _descendants(process.pid)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in complaint
    left = [pid for pid in children if os.path.exists(f"/proc/{pid}/exe")]
    assert left == []


def test_the_backend_keeps_the_status_and_hears_of_a_cut(tmp_path):
    text = HEAD + session(5, 2) + step(150, "kill") + step(300, "end")
    with charger(tmp_path, text) as playing:
        playing.run()
        outcome(playing, tmp_path / "out")
        for _ in range(100):  # broker and backend live in real time, and nobody owes us the will
            said = [json.loads(row.payload) for row in playing.charger.store.statuses()]
            if said[-1]["state"] == "offline":
                break
            time.sleep(0.05)
    states = [status["state"] for status in said]
    assert {"available", "charging"} <= set(states)
    assert states[-1] == "offline"  # the last will
    full = said[0]
    assert set(full) == {"state", "firmware", "boot", "nonce", "journal_used_pct",
                         "records_waiting", "clock", "tariff_sha256", "tokens_sha256",
                         "qr_expires_s"}  # fmt: skip
    assert len(full["nonce"]) == 16 and full["clock"] in "IS"
    assert len({status["nonce"] for status in said}) == 1
