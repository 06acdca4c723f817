"""Whom a TLS link trusts, and how the charger proves itself. All files are DER."""

import os

import tls

from evtill.core.errors import ConfigError


def context(folder, ca):
    """An SSLContext that accepts a server only under the CA certificate in `folder`'s file `ca`,
    with the host name asked for in its own, and shows client.der (key: client.key) where there is
    one. Raises ConfigError."""
    made = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)  # which verifies, unless told not to
    try:
        made.load_verify_locations(_read(folder, ca))
        if "client.der" in os.listdir(folder):
            made.load_cert_chain(_read(folder, "client.der"), _read(folder, "client.key"))
    except (OSError, ValueError) as e:
        raise ConfigError("TLS: %s or client.der cannot be used: %s" % (ca, e))
    return made


def _read(folder, name):
    with open(folder + "/" + name, "rb") as f:
        return f.read()
