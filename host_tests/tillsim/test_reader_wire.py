"""The simulated PN532, byte by byte, against UM0701-02's frames and logs of real readers."""

import pytest

from tillsim.reader_wire import ACK, ERROR, ReaderWire, frame

WAKE = b"\x55\x55" + bytes(14)
# From the logs in techniq/node-pn532#12 and nfc-tools/libnfc#167: real readers' bytes.
SAM = bytes.fromhex("0000ff05fbd4140100011600")
SAM_ANSWER = bytes.fromhex("0000ff00ff000000ff02fed5151600")
RF = bytes.fromhex("0000ff04fcd4320100f900")
RF_ANSWER = bytes.fromhex("0000ff00ff000000ff02fed533f800")
LIST = bytes.fromhex("0000ff04fcd44a0100e100")
UID = bytes.fromhex("04A2243B6C5E80")


@pytest.fixture
def wire():
    reader = ReaderWire()
    assert reader.feed(WAKE + SAM) == SAM_ANSWER
    return reader


def listed(uid, sens_res, sak, ats=b""):
    return frame(b"\xd5\x4b\x01\x01" + sens_res + bytes([sak, len(uid)]) + uid + ats)


def test_asleep_until_woken():
    reader = ReaderWire()
    assert reader.feed(SAM) == b""
    assert reader.feed(WAKE) == b""
    assert reader.feed(SAM) == SAM_ANSWER


def test_deaf_until_configured():
    reader = ReaderWire()
    reader.feed(WAKE)
    assert reader.feed(RF) == b""
    assert reader.feed(SAM) == SAM_ANSWER
    assert reader.feed(RF) == RF_ANSWER


def test_command_in_pieces(wire):
    said = [wire.feed(bytes([byte])) for byte in RF]
    assert b"".join(said) == RF_ANSWER


def test_commands_behind_each_other(wire):
    assert wire.feed(RF + RF) == RF_ANSWER + RF_ANSWER


@pytest.mark.parametrize("at", [3, 4, 5, 6, 7, 9])
def test_damaged_command_is_not_acknowledged(wire, at):
    damaged = bytearray(RF)
    damaged[at] ^= 0x01
    assert wire.feed(bytes(damaged)) == b""
    assert wire.feed(bytes(20) + RF) == RF_ANSWER


def test_unknown_command_is_a_syntax_error(wire):
    assert wire.feed(frame(b"\xd4\xee")) == ACK + ERROR


def test_nack_repeats_the_last_answer(wire):
    wire.feed(RF)
    assert wire.feed(bytes.fromhex("0000ffff0000")) == RF_ANSWER[len(ACK) :]


@pytest.mark.parametrize(
    ("uid", "sens_res"),
    [("DEADBEEF", "0004"), ("04A2243B6C5E80", "0044"), ("00112233445566778899", "0084")],
)
def test_card_in_the_field_is_listed(wire, uid, sens_res):
    uid, sens_res = bytes.fromhex(uid), bytes.fromhex(sens_res)
    assert wire.present(uid) == b""
    assert wire.feed(LIST) == ACK + listed(uid, sens_res, 0x08)
    ats = bytes.fromhex("067577810280")
    wire.present(uid, ats=ats)
    assert wire.feed(LIST) == ACK + listed(uid, sens_res, 0x20, ats)


def test_search_goes_on_until_a_card_comes(wire):
    assert wire.feed(LIST) == ACK
    assert wire.pending
    assert wire.present(UID) == listed(UID, b"\x00\x44", 0x08)
    assert wire.present(UID) == b""


def test_ack_from_the_host_aborts_the_search(wire):
    wire.feed(LIST)
    assert wire.feed(ACK) == b""
    assert not wire.pending
    assert wire.present(UID) == b""


def test_another_command_aborts_the_search(wire):
    wire.feed(LIST)
    assert wire.feed(RF) == RF_ANSWER
    assert wire.present(UID) == b""


def test_search_with_few_retries_ends_empty(wire):
    wire.feed(frame(b"\xd4\x32\x05\xff\x01\x02"))
    assert wire.feed(LIST) == ACK + frame(b"\xd5\x4b\x00")


def test_removed_card_is_not_listed(wire):
    wire.present(UID)
    wire.remove()
    assert wire.feed(LIST) == ACK


def test_power_cycle_forgets_everything_but_the_card(wire):
    wire.feed(frame(b"\xd4\x32\x05\xff\x01\x02"))
    wire.present(UID)
    wire.power_cycle()
    assert wire.feed(LIST) == b""
    assert wire.feed(WAKE + SAM + LIST) == SAM_ANSWER + ACK + listed(UID, b"\x00\x44", 0x08)
    assert wire.max_retries == 0xFF


@pytest.mark.parametrize("uid", ["", "010203", "0102030405", "88020304"])
def test_impossible_uid_is_refused(wire, uid):
    with pytest.raises(ValueError):
        wire.present(bytes.fromhex(uid))


def test_garbage_is_the_same_for_the_same_seed():
    assert ReaderWire.garbage(50, 1) == ReaderWire.garbage(50, 1) != ReaderWire.garbage(50, 2)
    assert len(ReaderWire.garbage(50, 1)) == 50


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("dead", b""),
        ("no_ack", b""),
        ("no_answer", ACK),
        ("bad_checksum", ACK + RF_ANSWER[6:-2] + b"\xe8\x00"),
        ("truncated", ACK + RF_ANSWER[6:-3]),
        ("error_frame", ACK + ERROR),
    ],
)
def test_fault(wire, fault, said):
    wire.fault = fault
    assert wire.feed(RF) == said


def test_long_answers_use_the_extended_frame():
    assert frame(bytes(300))[3:8] == bytes([0xFF, 0xFF, 1, 44, 0xD3])
