"""Cards' AES dialogues: NXP's published examples, and a simulated card with AES of its own.

Values: AN12196 Rev. 2.0 (NTAG 424 DNA), AN12343 (DESFire Light), AN10922 Rev. 2.2, by section."""

import contextlib
import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtill.core import ev2
from evtill.core.errors import CardError
from evtill.core.tokens import anonymous
from tillctl.card_aes import aes
from tillsim.card_sim import AID, BLANK, SYSTEM, AesCard, Phone

MASTER = bytes.fromhex("00112233445566778899aabbccddeeff")
UID = bytes.fromhex("04a2243b6c5e80")


def h(text):
    return bytes.fromhex(text)


def talk(dialogue, card):
    """What `dialogue` returns, with `card` (C-APDU -> R-APDU) at the other end."""
    reply = None
    while True:
        try:
            command = dialogue.send(reply)
        except StopIteration as end:
            return end.value
        reply = card(command)


def script(*pairs):
    """A card that expects these commands (hex) and gives these replies."""
    pairs = list(pairs)

    def card(command):
        wanted, reply = pairs.pop(0)
        assert command == h(wanted)
        return h(reply)

    return card


def session(enc="00" * 16, mac="00" * 16, ti="00000000", counter=0):
    made = ev2.Session(aes, BLANK, BLANK, BLANK, h(ti))
    made.enc_key, made.mac_key, made.counter = h(enc), h(mac), counter
    return made


# (document, key, key number, RndA, R-APDU 1, C-APDU 2, R-APDU 2, TI, SesAuthENC, SesAuthMAC)
HANDSHAKES = [
    ("AN12196 5.6, table 14", "00" * 16, 0, "13C5DB8A5930439FC3DEF9A4C675360F",
     "A04C124213C186F22399D33AC2A30215",
     "35C3E05A752E0144BAC0DE51C1F22C56B34408A23D8AEA266CAB947EA8E0118D",
     "3FA64DB5446D1F34CD6EA311167F5E4985B89690C04A05F17FA7AB2F08120663",
     "9D00C4DF", "1309C877509E5A215007FF0ED19CA564", "4C6626F5E72EA694202139295C7A7FC7"),
    ("AN12196 5.10, table 19", "00" * 16, 3, "B98F4C50CF1C2E084FD150E33992B048",
     "B875CEB0E66A6C5CD00898DC371F92D1",
     "FF0306E47DFBC50087C4D8A78E88E62DE1E8BE457AA477C707E2F0874916A8B1",
     "0CC9A8094A8EEA683ECAAC5C7BF20584206D0608D477110FC6B3D5D3F65C3A6A",
     "7614281A", "7A93D6571E4B180FCA6AC90C9A7488D4", "FC4AF159B62E549B5812394CAB1918CC"),
]  # fmt: skip


@pytest.mark.parametrize("example", HANDSHAKES, ids=lambda e: e[0])
def test_published_authentications(example):
    _, key, number, rnd_a, reply1, command2, reply2, ti, enc, mac = example
    card = script(
        (f"9071000002{number:02x}0000", reply1 + "91AF"),
        (f"90AF000020{command2}00", reply2 + "9100"),
    )  # fmt: skip
    made = talk(ev2.authenticate(aes, h(key), number, h(rnd_a)), card)
    assert (made.ti, made.enc_key, made.mac_key) == (h(ti), h(enc), h(mac))


@pytest.mark.parametrize(
    ("rnd_a", "rnd_b", "enc", "mac"),
    [  # AN12343, authentication with key 0, pages 33 and 34
        ("B04D0787C93EE0CC8CACC8E86F16C6FE", "FA659AD0DCA738DD65DC7DC38612AD81",
         "63DC07286289A7A6C0334CA31C314A04", "774F26743ECE6AF5033B6AE8522946F6"),
        # AN12196 5.14, table 23 (AuthenticateEV2NonFirst: the same derivation)
        ("60BE759EDA560250AC57CDDC11743CF6", "6924E8D09722659A2E7DEC68E66312B8",
         "4CF3CB41A22583A61E89B158D252FC53", "5529860B2FC5FB6154B7F28361D30BF9"),
    ],
)  # fmt: skip
def test_published_session_keys(rnd_a, rnd_b, enc, mac):
    made = ev2.Session(aes, BLANK, h(rnd_a), h(rnd_b), bytes(4))
    assert (made.enc_key, made.mac_key) == (h(enc), h(mac))


def test_published_get_card_uid():
    """AN12196 6.3, table 28: command under a MAC, answer encrypted."""
    made = session(
        "2B4D963C014DC36F24F69A50A394F875", "379D32130CE61705DD5FD8C36B95D764", "DF055522"
    )
    answer = "70756055688505B52A5E26E59E329CD6595F672298EA41B79100"
    card = script(("90510000088E2C155ADDA99BE300", answer))
    assert talk(made.run(ev2.GET_CARD_UID), card) == h("04958CAA5C5E80")


def test_published_change_file_settings():
    """AN12196 5.9, table 18."""
    made = session(
        "1309C877509E5A215007FF0ED19CA564", "4C6626F5E72EA694202139295C7A7FC7", "9D00C4DF", 1
    )
    card = script(("905F0000190261B6D97903566E84C3AE5274467E89EAD799B7C1A0EF7A0400",
                   "57BFF87B1241E93D9100"))  # fmt: skip
    assert talk(made.run(0x5F, b"\2", h("4000E0C1F121200000430000430000")), card) == b""


def test_published_write_data():
    """AN12196 6.12 (Rev. 1.8): ten bytes, padded to one block."""
    made = session(
        "7A93D6571E4B180FCA6AC90C9A7488D4", "FC4AF159B62E549B5812394CAB1918CC", "7614281A"
    )
    card = script(("908D00001F030000000A00006B5E6804909962FC4E3FF5522CF0F8436C0C53315B9C73AA00",
                   "C26D236E4A7C046D9100"))  # fmt: skip
    assert talk(made.run(0x8D, h("030000000A0000"), h("0102030405060708090A")), card) == b""


@pytest.mark.parametrize(
    ("number", "counter", "data", "command", "answer"),
    [  # AN12196 5.16.1 and 5.16.2, tables 25 and 26
        (2, 2, "F3847D627727ED3BC9C4CC050489B96601789DFADC",
         "022CF362B7BF4311FF3BE1DAA295E8C68DE09050560D19B9E16C2393AE9CD1FAC75D0CE20BCD1D06E6",
         "203BB55D1089D5879100"),
        (0, 3, "5004BF991F408672B1EF00F08F9E864701",
         "00C0EB4DEEFEDDF0B513A03A95A75491818580503190D4D05053FF75668A01D6FDA6610234BDED6432",
         None),
    ],
)  # fmt: skip
def test_published_change_key(number, counter, data, command, answer):
    made = session("4CF3CB41A22583A61E89B158D252FC53", "5529860B2FC5FB6154B7F28361D30BF9",
                   "7614281A",
                   counter)  # fmt: skip
    assert made.command(0xC4, bytes([number]), h(data)) == h(f"90C4000029{command}00")
    if answer:
        assert made.reply(h(answer)) == b""


def test_published_macs():
    """AN12343, page 54: WriteData and ReadData in CommMode.MAC."""
    made = session(mac="9366FA195EB566F5BD2BAD4020B83002", ti="E2D3AF69")
    data = h("22" * 25)
    sent = made.command(0x8D, h("00000000190000"), data, full=False)
    assert sent == h("908D000028" + "00000000190000" + "22" * 25 + "68F2C28C575A162800")
    assert made.reply(h("0820F68898C2A7F19100"), full=False) == b""
    assert made.command(0xAD, h("00000000300000"), full=False)[12:-1] == h("0D9BE191D5960834")
    padded = data + bytes(23)
    assert made.reply(padded + h("A49A44222D926666" + "9100"), full=False) == padded


def test_published_mac_of_get_file_settings():
    """AN12196 Rev. 1.8, 5.3."""
    made = session(mac="8248134A386E86EB7FAF54A52E536CB6", ti="7A21085E")
    assert made.command(0xF5, b"\2", full=False) == h("90F5000009026597A457C8CD442C00")
    body = "0040EEEE000100D1FE001F00004400004400002000006A0000"
    assert made.reply(h(body + "2A474282E7A479869100"), full=False) == h(body)


def test_published_diversified_key():
    """AN10922, 2.2.1: UID 04782E21801D80, AID 3042F5, system "NXP Abu", without a key number."""
    message = h("04782E21801D80") + h("3042F5") + b"NXP Abu"
    key = ev2.card_key(aes, MASTER, message[:7], message[7:10], message[10:-1], message[-1])
    assert key == h("A8DD63A3B89D54B37CA802473FDA9175")


def proved(card, master=MASTER, uid=None):
    shown = card.shown() if uid is None else uid
    return talk(ev2.prove(aes, master, AID, SYSTEM, shown, random.Random(7).randbytes), card.apdu)


@pytest.mark.parametrize("kind", ["ntag424", "desfire"])
class TestCard:
    def test_with_the_right_key_proves_itself(self, kind):
        assert proved(AesCard(kind, UID).issue(MASTER)) == UID

    def test_with_a_random_uid_tells_its_true_one(self, kind):
        card = AesCard(kind, UID).issue(MASTER)
        card.random_id = True
        for _ in range(3):
            card.field_off()
            assert anonymous(card.shown())
            assert proved(card) == UID

    def test_of_another_operator_is_refused(self, kind):
        with pytest.raises(CardError, match="91ae"):
            proved(AesCard(kind, UID).issue(b"another operator"))

    def test_with_the_keys_of_another_card_is_refused(self, kind):
        card = AesCard(kind, h("04112233445566")).issue(MASTER)
        with pytest.raises(CardError, match="91ae"):
            proved(card, uid=UID)

    def test_that_is_not_ours_is_none_of_our_business(self, kind):
        card = AesCard(kind, UID)
        card.applications.clear()
        assert proved(card) is None

    def test_any_flipped_bit_in_its_answers_is_no_proof(self, kind):
        replies = []
        whole = AesCard(kind, UID, random.Random(1).randbytes).issue(MASTER)
        whole.random_id = True
        whole.field_off()
        shown = whole.shown()
        proved(whole, uid=shown)
        replies = [reply for _, reply in whole.log]
        for i, reply in enumerate(replies):
            for bit in range(len(reply) * 8):
                card = AesCard(kind, UID, random.Random(1).randbytes).issue(MASTER)
                card.random_id = True
                card.field_off()
                said = []

                def damaged(command, card=card, said=said, i=i, bit=bit):
                    reply = bytearray(card.apdu(command))
                    if len(said) == i:
                        reply[bit // 8] ^= 1 << bit % 8
                    said.append(reply)
                    return bytes(reply)

                try:
                    outcome = talk(
                        ev2.prove(aes, MASTER, AID, SYSTEM, shown, random.Random(7).randbytes),
                        damaged,
                    )  # fmt: skip
                except CardError:
                    continue
                # What does not matter: how an NTAG refuses DESFire's select.
                assert outcome is None or (kind == "ntag424" and i == 0 and outcome == UID)


def test_a_phone_and_a_plain_iso_card_prove_nothing():
    assert proved(Phone()) is None


@pytest.mark.parametrize("status", ["6d00", "6e00", "911c", "9140", "917e", "6700", "9000"])
def test_a_card_without_the_command_is_not_ours(status):
    card = script(("905a000003f5e71c00", "911c"), (ev2.SELECT_NTAG.hex(), "9000"),
                  ("90710000020100" + "00", status))  # fmt: skip
    dialogue = ev2.prove(aes, MASTER, AID, SYSTEM, UID, bytes)
    assert talk(dialogue, card) is None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=10, max_size=10), st.booleans())
def test_any_answers_at_all_prove_nothing(replies, random_uid):
    queue = list(replies)
    uid = b"\x08abc" if random_uid else UID
    try:
        dialogue = ev2.prove(aes, MASTER, AID, SYSTEM, uid, random.Random(3).randbytes)
        assert talk(dialogue, lambda _: queue.pop(0)) is None
    except CardError:
        pass


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=40), st.sampled_from([b"\x91\x00", b"\x91\xaf", b"\x90\x00", b"\x91\xae"])
)
def test_any_answer_with_a_good_status_proves_nothing(body, status):
    dialogue = ev2.prove(aes, MASTER, AID, SYSTEM, UID, random.Random(3).randbytes)
    count = []

    def card(_):
        count.append(1)
        return b"\x91\x00" if len(count) == 1 else body + status

    with contextlib.suppress(CardError):
        assert talk(dialogue, card) is None


def test_key_messages_that_an10922_would_pad_otherwise_are_our_mistake():
    for system in (b"four", b"x" * 21):
        with pytest.raises(ValueError):
            ev2.card_key(aes, MASTER, UID, AID, system, 1)


@pytest.mark.parametrize("uid", ["deadbeef", "04a2243b6c5e80", "00112233445566778899"])
@pytest.mark.parametrize("system", [b"five5", b"sixteen bytes 16"])
def test_a_uid_of_any_length_has_a_key(uid, system):
    assert len(ev2.card_key(aes, MASTER, h(uid), AID, system, 1)) == 16


def test_keys_differ_by_card_number_and_system():
    keys = {ev2.card_key(aes, MASTER, uid, AID, system, number)
            for uid in (UID, h("04112233445566")) for system in (SYSTEM, b"others")
            for number in (0, 1)}  # fmt: skip
    assert len(keys) == 8
    assert len({ev2.card_key(aes, MASTER, uid, AID, SYSTEM, 2) for uid in (UID, b"1234567")}) == 1


@pytest.mark.parametrize(
    ("uid", "is_anonymous"),
    [("08a1b2c3", True), ("01020304", True), ("04a1b2c3", False), ("88a1b2c3", False),
     ("04a2243b6c5e80", False), ("08a2243b6c5e80", False), ("deadbeef", False)],
)  # fmt: skip
def test_uids_that_name_no_card(uid, is_anonymous):
    assert anonymous(h(uid)) is is_anonymous


def test_simulated_card_takes_new_keys_as_its_data_sheet_says():
    card = AesCard("ntag424", UID)
    assert talk(ev2.select(AID), card.apdu)
    made = talk(ev2.authenticate(aes, BLANK, 0, bytes(range(16))), card.apdu)
    new = bytes(range(16, 32))
    crc = (zlib.crc32(new) ^ 0xFFFFFFFF).to_bytes(4, "little")
    assert talk(made.run(0xC4, b"\1", new + b"\1" + crc), card.apdu) == b""
    assert talk(ev2.authenticate(aes, new, 1, bytes(range(16))), card.apdu)
    with pytest.raises(CardError):
        talk(ev2.authenticate(aes, BLANK, 1, bytes(range(16))), card.apdu)
