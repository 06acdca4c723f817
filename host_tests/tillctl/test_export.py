"""`tillctl export --safe-xml`: read by an XML parser and by pyocmf, each OCMF string verified."""

import warnings
from xml.etree import ElementTree

import pytest
from pyocmf import OCMF, OcmfContainer

from evtill.core import key_rotation, record_check
from host_tests.fakes import records
from tillback.intake import Intake
from tillback.store import Store
from tillctl.__main__ import main

OLD, NEW = records.Signer(1), records.Signer(2)


@pytest.fixture
def folder(tmp_path):
    """Four records of a charger; the key was changed before the third."""
    prev = records.ZEROS
    for seq in range(1, 5):
        signer = OLD if seq < 3 else NEW
        if seq == 3:
            rotation = key_rotation.signed(
                records.CHARGER, 3, prev, NEW.public.point, OLD.public.kid, OLD.sign
            )
            (tmp_path / "rotation.jws").write_bytes(rotation)
        made = records.signed(signer, seq, prev, tariff_text="0.49 < 1 & > 0 \u20ac ]]>")
        (tmp_path / f"{seq}.jws").write_bytes(made)
        prev = records.sha256(made)
    (tmp_path / "key.pem").write_text(OLD.public.pem)
    return tmp_path


def export(folder, *sources):
    file = folder / "out.xml"
    code = main(["export", "--safe-xml", *map(str, sources), "--key", str(folder / "key.pem"),
                 "-o", str(file)])  # fmt: skip
    return code, file


def test_the_container_is_what_the_transparenzsoftware_reads(folder):
    code, file = export(folder, folder)
    assert code == 0
    text = file.read_text("ascii")
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<values>\n')
    assert "xmlns" not in text
    root = ElementTree.fromstring(text)
    assert (root.tag, root.attrib, len(root)) == ("values", {}, 4)
    for seq, value in enumerate(root, 1):
        assert value.tag == "value"
        assert value.attrib == {"transactionId": str(seq), "context": "Transaction.End"}
        data, key = value
        assert (data.tag, data.attrib) == ("signedData", {"format": "OCMF", "encoding": "plain"})
        assert (key.tag, key.attrib) == ("publicKey", {"encoding": "plain"})
        signer = OLD if seq < 3 else NEW
        assert key.text == signer.public.spki.hex()
        body, _, der = record_check.parse_ocmf(data.text)  # the very bytes that were signed
        assert signer.public.is_signed(body, der)


def test_pyocmf_verifies_each_string_with_the_key_beside_it(folder):
    _, file = export(folder, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        container = OcmfContainer.from_xml(file, strict=True)
    assert [one.transaction_id for one in container] == [1, 2, 3, 4]
    texts = [data.text for data in ElementTree.parse(file).iter("signedData")]
    for one, text in zip(container, texts, strict=True):
        assert one.verify_signature()
        assert OCMF.from_string(text, strict=True).verify(one.public_key) == (True, [])
    assert all(result.is_compliant for result in container.check_eichrecht())


def test_pyocmf_notices_a_changed_container(folder):
    _, file = export(folder, folder)
    file.write_text(file.read_text().replace("1057.465", "1057.464", 1))
    first, second, *_ = OcmfContainer.from_xml(file)
    assert not first.verify_signature()
    assert second.verify_signature()


def test_a_file_and_the_database_give_the_same_container(folder, capfd):
    url = f"sqlite:///{folder}/ledger.sqlite"
    store = Store(url)
    store.register(records.CHARGER, OLD.public.pem, bytes(32))
    intake = Intake(store)
    for seq in (1, 2):
        body = (folder / f"{seq}.jws").read_bytes()
        assert not intake.take(f"evtill/v1/{records.CHARGER}/usage", body).refused
    store.close()
    _, file = export(folder, folder / "2.jws", folder / "1.jws", folder / "1.jws")
    capfd.readouterr()
    assert main(["export", "--safe-xml", url]) == 0
    assert capfd.readouterr().out == file.read_text()


def test_what_is_not_as_signed_is_not_exported(folder, capsys):
    (folder / "3.jws").write_bytes((folder / "3.jws").read_bytes()[:-4] + b"AAAA")
    code, file = export(folder, folder)
    assert (code, file.exists()) == (1, False)
    assert f"{records.CHARGER}-3: jws signature: " in capsys.readouterr().err


def test_a_container_is_of_one_charger(folder, capsys):
    other = records.signed(OLD, 1, charger="X", id="X-1")
    (folder / "x.jws").write_bytes(other)
    assert export(folder, folder / "1.jws", folder / "x.jws")[0] == 1
    assert "several chargers" in capsys.readouterr().err
