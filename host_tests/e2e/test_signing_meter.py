"""A meter that signs by itself: its string reaches the record unchanged, or a flag says why not."""

import json

import pytest
from pyocmf import OCMF

from evtill.core import record_check
from host_tests.e2e.charger import HEAD, charger, check, outcome, session, step, tap
from host_tests.soak import sampled
from tillctl.__main__ import main as tillctl
from tillctl.public_key import PublicKey
from tillctl.tariff_file import TariffFile
from tillctl.verify import verify

METER = HEAD + '[config]\nmeter_model = "wm3m4"\n'


def played(tmp_path, text, spoil=lambda signer: None, **options):
    """(outcome, the meter's public key, what it held last as an OCMF string's second part)."""
    with charger(tmp_path, text, **options) as playing:
        signer = playing.charger.meter.signer
        spoil(signer)
        playing.run()
        file = tmp_path / "meter.pem"
        file.write_bytes(signer.pem)
        held = b"".join(signer._held.get(7612 + i, b"") for i in range(512))
        return outcome(playing, tmp_path / "out"), PublicKey.read(file), held


def checks(result, row, meter_key):
    key = PublicKey.read(result.folder / "charger.pub.pem")
    done = verify(row["jws"].encode(), key, TariffFile(result.folder / "tariff.bin"), meter_key)
    return done, {one.name: one.result for one in done.checks}


@pytest.mark.parametrize("bits", sampled([32, 64], 2))
def test_what_the_meter_signed_is_in_the_record(tmp_path, bits):
    text = METER + session(5, 5) + step(420, "end")
    result, key, held = played(tmp_path, text, bits=bits)
    check(result)
    (row,) = result._rows("records.jsonl")
    record = row["payload"]
    assert record["flags"] == []
    said = record["meter_ocmf"]
    assert held.startswith(said.split("|")[1].encode())
    meant = json.loads(said.split("|")[1])
    assert meant["MS"] == record["meter"]["serial"]
    assert [round(r["RV"] * 1000) for r in meant["RD"]] == [
        record["meter"]["start_wh"], record["meter"]["end_wh"],
    ]  # fmt: skip
    assert OCMF.from_string(said).verify(key.spki.hex())[0]
    done, found = checks(result, row, key)
    assert done.holds() and found["meter signature"] == "ok"
    done, found = checks(result, row, None)
    assert done.holds() and found["meter signature"] == "skipped"
    done, found = checks(result, row, PublicKey.read(result.folder / "charger.pub.pem"))
    assert not done.holds() and found["meter signature"] == "FAIL"
    file = tmp_path / "0.jws"
    file.write_text(row["jws"])
    call = ["verify", str(file), "--key", str(result.folder / "charger.pub.pem"), "--tariff",
            str(result.folder / "tariff.bin"), "--meter-key"]  # fmt: skip
    assert tillctl([*call, str(tmp_path / "meter.pem")]) == 0
    assert tillctl([*call, str(result.folder / "charger.pub.pem")]) == 1


def test_a_power_cut_leaves_no_signature_and_the_next_session_has_one(tmp_path):
    text = METER + tap(5) + step(8, "plug", kw=11) + step(100, "kill") + step(110, "boot")
    text += step(112, "unplug") + session(140, 1) + step(300, "end")
    result, key, _ = played(tmp_path, text)
    cut, whole = result.records
    assert "meter_unsigned" in cut["flags"] and "meter_ocmf" not in cut
    assert whole["flags"] == []
    assert OCMF.from_string(whole["meter_ocmf"]).verify(key.spki.hex())[0]
    assert result.verify() == 0


def test_a_meter_that_does_not_sign_starts_no_session(tmp_path):
    def spoil(signer):
        signer.fault = "unsigned"

    text = METER + session(5, 1) + step(120, "end")
    result, _, _ = played(tmp_path, text, spoil)
    assert result.records == [] and result.truth["sessions"] == []
    assert "meter does not sign" in " ".join(result.shown().replace("|", " ").split())


def test_a_record_with_a_changed_string_is_still_read(tmp_path):
    """The charger's own signature tells; the meter's alone tells, too."""
    text = METER + session(5, 1) + step(120, "end")
    result, key, _ = played(tmp_path, text)
    (row,) = result._rows("records.jsonl")
    payload = json.dumps(row["payload"], separators=(",", ":"))
    changed = payload.replace('\\"MV\\":\\"Iskra', '\\"MV\\":\\"iskra')
    assert changed != payload
    found = record_check.parse(changed.encode())
    assert not key.is_signed(
        found["meter_ocmf"].split("|")[1].encode(),
        bytes.fromhex(json.loads(found["meter_ocmf"].split("|")[2])["SD"]),
    )
