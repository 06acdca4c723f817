"""The QR codes that the backend puts on displays: one nonce an attempt, replaced when used."""

import base64
import json

import pytest
import zxingcpp
from PIL import Image

from evtill.core import jws
from evtill.core.errors import ConfigError
from tillback import qr
from tillback.store import Store
from tillctl.public_key import PublicKey

URL = "https://pay.example.com/c/E000123?n={nonce}"
NOW_S = 1772435655
CHARGER = "DE*EVT*E1"
KEY = b"k" * 32


def scanned(offer):
    """What a phone reads of the bitmap in a command."""
    size, bits = offer.args["size"], base64.b64decode(offer.args["qr"])
    image = Image.new("L", ((size + 8) * 4,) * 2, 255)
    for i in range(size * size):
        if bits[i >> 3] & 0x80 >> (i & 7):
            x, y = (i % size + 4) * 4, (i // size + 4) * 4
            image.paste(0, (x, y, x + 4, y + 4))
    return [found.text for found in zxingcpp.read_barcodes(image)]


def test_each_attempt_has_a_nonce_of_its_own():
    offers = [qr.make(URL, now_s=NOW_S) for _ in range(50)]
    assert len({offer.nonce for offer in offers}) == 50
    for offer in offers[:5]:
        assert offer.url == URL.replace("{nonce}", offer.nonce) and len(offer.nonce) == 13
        assert scanned(offer) == [offer.url]
        assert offer.args["expires_s"] == NOW_S + 900 and offer.args["size"] == 29


@pytest.mark.parametrize(
    ("url", "said"),
    [("https://pay.example.com/x", "want one of https"), ("http://p.example/{nonce}", "https"),
     ("https://p.example/{nonce}/{nonce}", "want one"),
     ("https://pay.example.com/" + "x" * 17 + "{nonce}", "54 characters with its nonce")],
)  # fmt: skip
def test_what_no_display_can_show_is_said(url, said):
    with pytest.raises(ConfigError, match=said):
        qr.make(url)


def test_capitals_leave_room_for_more():
    offer = qr.make("HTTPS://PAY.EXAMPLE.COM/" + "X" * 40 + "{nonce}")
    assert scanned(offer) == [offer.url] and offer.args["size"] == 29


@pytest.fixture
def offers(tmp_path):
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    store = Store(f"sqlite:///{tmp_path / 'b.sqlite'}")
    store.register(CHARGER, PublicKey(pem).pem, b"a" * 32, CHARGER, KEY)
    yield qr.Offers(store, URL), store
    store.close()


def status(state="available", expires_s=None, nonce="n1"):
    return json.dumps({"state": state, "nonce": nonce, "qr_expires_s": expires_s}).encode()


def test_a_display_without_a_code_gets_one_signed(offers):
    keeper, store = offers
    order = json.loads(jws.hs256_verify(keeper.answer(CHARGER, status(), NOW_S), jws.COMMAND, KEY))
    assert (order["charger"], order["cmd"], order["nonce"]) == (CHARGER, "set_display", "n1")
    (kept,) = store.offers(CHARGER)
    assert kept.expires_s == order["args"]["expires_s"] == NOW_S + 900


def test_one_is_replaced_when_it_was_used_or_is_about_to_expire_and_not_before(offers):
    keeper, store = offers
    assert keeper.answer(CHARGER, status(), NOW_S)
    assert keeper.answer(CHARGER, status(), NOW_S + 5) is None  # it is on its way
    assert keeper.answer(CHARGER, status(nonce="n2"), NOW_S + 6)  # another boot has none
    assert keeper.answer(CHARGER, status(expires_s=NOW_S + 900, nonce="n2"), NOW_S + 100) is None
    assert keeper.answer(CHARGER, status("charging", nonce="n2"), NOW_S + 100) is None
    assert keeper.answer(CHARGER, status(nonce="n2"), NOW_S + 200)  # used
    assert keeper.answer(CHARGER, status(expires_s=NOW_S + 1100, nonce="n2"), NOW_S + 1041)
    assert len({offer.nonce for offer in store.offers(CHARGER)}) == 4


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"state": "available"}', b"\xff", b"null"])
def test_a_status_that_is_none_moves_nothing(offers, body):
    assert offers[0].answer(CHARGER, body, NOW_S) is None
    assert offers[0].answer("unknown", status(), NOW_S) is None
