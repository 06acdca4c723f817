"""Certificates for a virtual charger, its broker and whatever else it talks to."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


@dataclass
class Issued:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A CA of one's own in `folder`; `certificate` is its PEM file."""

    def __init__(self, folder: Path, name: str = "evtill virtual CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        made = self._sign(self._name, self._key.public_key(), x509.BasicConstraints(True, None))
        self.certificate = folder / "ca.pem"
        self.certificate.write_bytes(made)

    def issue(self, name: str) -> Issued:
        """For a client (CN) or a server (CN and DNS name) called `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        more = [] if "*" in name else [x509.SubjectAlternativeName([x509.DNSName(name)])]
        stem = self._folder / name.replace("*", "_")
        issued = Issued(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        issued.certificate.write_bytes(self._sign(_name(name), key.public_key(), *more))
        issued.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return issued

    def revoke(self, issued: Issued) -> Path:
        """A list (PEM) of this certificate as the only one revoked."""
        now = datetime.datetime.now(datetime.UTC)
        serial = x509.load_pem_x509_certificate(issued.certificate.read_bytes()).serial_number
        entry = x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=now).build()
        made = (
            x509.CertificateRevocationListBuilder().issuer_name(self._name)
            .last_update(now - _DAY).next_update(now + 365 * _DAY).add_revoked_certificate(entry)
            .sign(self._key, hashes.SHA256())
        )  # fmt: skip
        file = self._folder / "revoked.pem"
        file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return file

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY).not_valid_after(now + 365 * _DAY)
        )  # fmt: skip
        for extension in extensions:
            builder = builder.add_extension(extension, isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
