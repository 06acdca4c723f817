"""`tillctl keys`: each form against somebody else's reader of it."""

import json
from xml.etree import ElementTree

import pytest
import zxingcpp
from cryptography.hazmat.primitives import serialization
from jwcrypto import jwk
from PIL import Image
from pyocmf import PublicKey as OcmfKey

from host_tests.fakes import records
from tillctl.__main__ import main
from tillctl.public_key import PublicKey

KEY = records.Signer().public
DER = serialization.load_pem_public_key(KEY.pem.encode()).public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)


@pytest.fixture
def folder(tmp_path):
    """What `tillctl provision` leaves."""
    left = {"charger": records.CHARGER, "public_key": KEY.pem, "ack_key": "00" * 32}
    (tmp_path / "DE_EVT_E000123.json").write_text(json.dumps(left))
    (tmp_path / "DE_EVT_E000123.pub.pem").write_text(KEY.pem)
    return tmp_path


def keys(capsys, *args):
    assert main(["keys", *map(str, args)]) == 0
    return capsys.readouterr().out


def test_every_form_is_the_same_key(capsys, folder):
    file = folder / "DE_EVT_E000123.pub.pem"
    assert jwk.JWK.from_pem(keys(capsys, file, "--only", "pem").encode()).thumbprint() == KEY.kid
    shown = jwk.JWK.from_json(keys(capsys, file, "--only", "jwk"))
    assert shown.thumbprint() == shown.export_public(as_dict=True)["kid"] == KEY.kid
    assert keys(capsys, file, "--only", "kid").strip() == KEY.kid
    assert OcmfKey.from_string(keys(capsys, file, "--only", "hex")).key == DER.hex()


def test_all_of_it_is_shown_with_the_chargers_id(capsys, folder):
    for name in ("DE_EVT_E000123.json", "DE_EVT_E000123.pub.pem"):
        said = keys(capsys, folder / name)
        for part in (records.CHARGER, KEY.pem, KEY.kid, DER.hex(), json.dumps(KEY.jwk)):
            assert part in said
        assert "00" * 32 not in said


def test_the_code_in_the_terminal_is_read_by_a_scanner(capsys, folder):
    lines = keys(capsys, folder / "DE_EVT_E000123.json", "--only", "qr").splitlines()
    image = Image.new("L", (len(lines[0]), 2 * len(lines)))
    for y, line in enumerate(lines):
        for x, character in enumerate(line):
            image.putpixel((x, 2 * y), 255 * (character in "\u2588\u2580"))
            image.putpixel((x, 2 * y + 1), 255 * (character in "\u2588\u2584"))
    [found] = zxingcpp.read_barcodes(image.resize((image.width * 4, image.height * 4), 0))
    assert bytes.fromhex(found.text) == DER


def test_the_sticker_is_read_by_a_scanner_and_names_the_charger(capsys, folder):
    png, svg = folder / "sticker.png", folder / "sticker.svg"
    keys(capsys, folder / "DE_EVT_E000123.json", "--png", png, "--svg", svg)
    [found] = zxingcpp.read_barcodes(Image.open(png))
    assert found.format == zxingcpp.BarcodeFormat.QRCode
    assert bytes.fromhex(found.text) == DER
    drawn = ElementTree.parse(svg).getroot()
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == records.CHARGER
    assert KEY.kid in texts[-1]
    width, height = map(float, drawn.attrib["viewBox"].split()[2:])
    image = Image.new("L", (int(width), int(height)), 255)
    path = next(drawn.iter("{http://www.w3.org/2000/svg}path")).attrib["d"]
    for move in path.split("M")[1:]:
        x, y = move.partition("h")[0].split()
        image.putpixel((int(x), int(y)), 0)
    [found] = zxingcpp.read_barcodes(image.resize((image.width * 4, image.height * 4), 0))
    assert bytes.fromhex(found.text) == DER


def test_the_longest_id_fits_the_sticker(capsys, folder):
    png = folder / "sticker.png"
    keys(capsys, folder / "DE_EVT_E000123.pub.pem", "--charger", "W" * 34, "--png", png)
    image = Image.open(png)
    margin = image.crop((0, 0, 24, image.height)).getextrema(), image.crop(
        (image.width - 24, 0, image.width, image.height)
    ).getextrema()
    assert margin == ((255, 255), (255, 255))


def test_every_form_is_taken_as_a_key(tmp_path):
    forms = {
        "k.pem": KEY.pem, "k.jwk": json.dumps(KEY.jwk), "k.hex": DER.hex().upper(),
        "k.json": json.dumps({"charger": "X", "public_key": KEY.pem}),
    }  # fmt: skip
    for name, text in forms.items():
        (tmp_path / name).write_text(text + "\n")
        assert PublicKey.read(tmp_path / name).point == KEY.point


@pytest.mark.parametrize(
    "text",
    ["3059", "3059" + "zz" * 89, DER.hex()[:-2], DER.hex()[:-2] + "00", "{}", "{",
     '{"public_key":1}', json.dumps(KEY.jwk | {"crv": "P-384"}),
     json.dumps(KEY.jwk | {"x": "AAAA"}),
     json.dumps(KEY.jwk | {"y": KEY.jwk["x"]}), json.dumps(KEY.jwk | {"y": 7}), "\xff"],
)  # fmt: skip
def test_what_is_no_key_gets_one_line(capsys, tmp_path, text):
    (tmp_path / "k").write_text(text, encoding="latin-1")
    assert main(["keys", str(tmp_path / "k")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "/k: " in error


def test_a_sticker_without_an_id_is_refused(capsys, tmp_path):
    (tmp_path / "k").write_text(KEY.pem)
    assert main(["keys", str(tmp_path / "k"), "--svg", str(tmp_path / "s.svg")]) == 1
    assert "--charger" in capsys.readouterr().err
