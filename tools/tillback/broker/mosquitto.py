"""mosquitto's configuration for production: chargers over TLS with a certificate each."""

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import jinja2
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from evtill.core.errors import ConfigError
from tillback.broker import passwords, rights

CONFIG, ACL, PASSWORDS, URL = "mosquitto.conf", "acl", "passwords", "backend.url"


def write(
    folder: Path, *, ca: Path, certificate: Path, key: Path, crl: Path | None = None,
    port: int = 8883, backend_port: int = 1883, backend_host: str | None = None,
) -> Path:  # fmt: skip
    """Writes the configuration, its rights, the backend's hashed password and URL (which --broker
    @FILE takes) to `folder`; a password that stands there already is kept. backend_host:
    the name by which a backend on another machine calls the broker, then over TLS. Returns the
    configuration's path. Raises ConfigError."""
    _check(ca, certificate, key, crl)
    if port == backend_port:
        raise ConfigError(f"port {port}: chargers and backend want one each")
    folder = folder.resolve()
    paths = {"ca": ca, "certificate": certificate, "key": key, "crl": crl}
    given: dict[str, Any] = {
        name: path.resolve() if path else None for name, path in paths.items()
    } | {"folder": folder, "port": port, "backend_port": backend_port,
         "backend_host": backend_host, "user": rights.BACKEND}
    for name, path in given.items():
        if "\n" in str(path):
            raise ConfigError(f"{name}: a line break in a path")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "data").mkdir(mode=0o700, exist_ok=True)
        password = _password(folder / URL)
        scheme = "mqtts" if backend_host else "mqtt"
        user, word = (quote(one, safe="") for one in (rights.BACKEND, password))
        texts = {
            CONFIG: _render(CONFIG, given), ACL: _render(ACL, given),
            PASSWORDS: f"{rights.BACKEND}:{passwords.hashed(password)}\n",
            URL: f"{scheme}://{user}:{word}@{backend_host or '127.0.0.1'}:{backend_port}\n",
        }  # fmt: skip
        for name, text in texts.items():
            _put(folder / name, text)
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror or error}") from error
    return folder / CONFIG


def _password(url: Path) -> str:
    try:
        kept = urlsplit(url.read_text().strip()).password
    except FileNotFoundError:
        kept = None
    except ValueError as error:
        raise ConfigError(f"{url}: {error}") from error
    return unquote(kept) if kept else secrets.token_hex(16)


def _render(name: str, given: dict[str, Any]) -> str:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    topics = {"root": rights.ROOT, "up": rights.UP, "down": rights.DOWN}
    return templates.get_template(f"{name}.j2").render(given | topics)


def _put(path: Path, text: str) -> None:
    """For the owner's eyes alone: mosquitto, too, will refuse to load anything else."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _check(ca: Path, certificate: Path, key: Path, crl: Path | None) -> None:
    """That the files are what they are said to be: mosquitto says only that it cannot start."""
    authorities = _load(ca, "a certificate in PEM", x509.load_pem_x509_certificates)
    own = _load(certificate, "a certificate in PEM", x509.load_pem_x509_certificates)[0]
    private = _load(
        key, "a private key in PEM, without a password",
        lambda text: serialization.load_pem_private_key(text, None),
    )  # fmt: skip
    if private.public_key() != own.public_key():
        raise ConfigError(f"{key} is not the key of {certificate}")
    if crl is not None:
        revoked = _load(crl, "a revocation list in PEM", x509.load_pem_x509_crl)
        if not any(revoked.is_signature_valid(one.public_key()) for one in authorities):
            raise ConfigError(f"{crl} is of another CA than {ca}")


def _load(path: Path, what: str, parse: Any) -> Any:
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (ValueError, TypeError):
        raise ConfigError(f"{path}: want {what}") from None
