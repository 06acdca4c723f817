"""What a charger's TLS needs of files: certificates and a key in PEM or DER, as DER."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from evtill.core.errors import ConfigError

BROKER_CA, PAYMENT_CA = "broker_ca.der", "payment_ca.der"  # firmware/evtill/net/tls_context.py
CLIENT, CLIENT_KEY = "client.der", "client.key"


def files(
    charger: str, ca: Path | None = None, payment_ca: Path | None = None,
    certificate: Path | None = None, key: Path | None = None,
) -> dict[str, bytes]:  # fmt: skip
    """{name on the data partition: DER}. Raises ConfigError: one line."""
    found = {}
    if ca is not None:
        found[BROKER_CA] = _der(_certificate(ca))
    if payment_ca is not None:
        found[PAYMENT_CA] = _der(_certificate(payment_ca))
    if (certificate is None) != (key is None):
        raise ConfigError("--cert and --key go together")
    if certificate is not None and key is not None:
        own, private = _certificate(certificate), _key(key)
        names = [str(one.value) for one in own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if names != [charger]:
            raise ConfigError(f"{certificate} is for {', '.join(names)}, not for {charger}")
        if own.public_key() != private.public_key():
            raise ConfigError(f"{key} is not the key of {certificate}")
        found[CLIENT] = _der(own)
        found[CLIENT_KEY] = private.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    return found


def _certificate(path: Path) -> x509.Certificate:
    data = _read(path)
    try:
        if b"-----BEGIN" not in data:
            return x509.load_der_x509_certificate(data)
        several = x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ConfigError(f"{path} is no certificate") from None
    if len(several) != 1:
        raise ConfigError(f"{path} holds {len(several)} certificates; one is expected")
    return several[0]


def _key(path: Path):  # one of cryptography's private keys
    data = _read(path)
    try:
        if b"-----BEGIN" in data:
            return serialization.load_pem_private_key(data, None)
        return serialization.load_der_private_key(data, None)
    except (ValueError, TypeError):
        raise ConfigError(f"{path} is no private key, or one with a password") from None


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from None
