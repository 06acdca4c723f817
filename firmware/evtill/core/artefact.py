"""Large artefacts (token lists, tariffs, configuration, firmware) signed by the operator's key.

An artefact is one file: an envelope, "\\n", the content. The envelope is a JWS ES256 of type
"evtill-artefact+jws" over {typ, audience, version, not_before, expires, sha256}: typ one of TYPES;
audience "all", "charger:<id>" or "group:<name>"; version a whole number, higher for each that
replaces another; times in Unix seconds, between which it may be installed (what is installed
stays); sha256 of the content in hex. The operator's key is offline: neither a broker nor a backend
that was taken over can replace what a charger decides by.
"""

import binascii
import json

from evtill.core import jws
from evtill.core.errors import ArtefactError

TYP = "evtill-artefact+jws"
TYPES = "tokens tokens-delta tariff config firmware"
ENVELOPE_MAX = 1024
VERSION_MAX = 0xFFFFFFFF
_FIELDS = {"typ": str, "audience": str, "version": int, "not_before": int, "expires": int,
           "sha256": str}  # fmt: skip


def claims(typ, audience, version, not_before, expires, sha256):
    """What an envelope says, as bytes to sign. sha256: hex. Raises ArtefactError."""
    said = {"typ": typ, "audience": audience, "version": version, "not_before": not_before,
            "expires": expires, "sha256": sha256}  # fmt: skip
    _check_fields(said)
    return json.dumps(said).encode()


def check(envelope, public_key, p256, types, audiences, unix_s, installed=(0, b"")):
    """(typ, version, SHA-256) of an artefact to be installed, by its envelope (bytes).

    public_key: the operator's point; p256: verifies; types, audiences: what is accepted here;
    unix_s: now, None while the clock is not set; installed: version and SHA-256 of what it is to
    replace. Raises ArtefactError, SignatureError."""
    if len(envelope) > ENVELOPE_MAX:
        raise ArtefactError("envelope is longer than %d bytes" % ENVELOPE_MAX)
    payload, _ = jws.es256_verify(envelope, TYP, public_key, p256)
    try:
        said = json.loads(payload)
    except ValueError:
        said = None
    _check_fields(said)
    version = said["version"]
    sha256 = binascii.unhexlify(said["sha256"])
    why = None
    if said["typ"] not in types:
        why = "it is %s, not %s" % (said["typ"], " or ".join(types))
    elif said["audience"] not in audiences:
        why = "it is for %s" % said["audience"]
    elif unix_s is None:
        why = "clock is not set"
    elif unix_s < said["not_before"]:
        why = "not valid yet"
    elif unix_s >= said["expires"]:
        why = "expired"
    elif version < installed[0]:
        why = "version %d is lower than %d, which is here" % (version, installed[0])
    elif version == installed[0] and sha256 != installed[1]:
        why = "version %d is here already, with other content" % version
    if why:
        raise ArtefactError(why)
    return said["typ"], version, sha256


def _check_fields(said):
    if not isinstance(said, dict) or set(said) != set(_FIELDS):
        raise ArtefactError("fields must be " + " ".join(sorted(_FIELDS)))
    for name in _FIELDS:
        # isinstance would take True for an int
        if type(said[name]) is not _FIELDS[name]:
            raise ArtefactError("%s has the wrong type" % name)
    if said["typ"] not in TYPES.split():
        raise ArtefactError("typ must be one of " + TYPES)
    kind, _, name = said["audience"].partition(":")
    if said["audience"] != "all" and not (kind in ("charger", "group") and name):
        raise ArtefactError("audience must be all, charger:ID or group:NAME")
    if not 0 < said["version"] <= VERSION_MAX:
        raise ArtefactError("version must be 1 to %d" % VERSION_MAX)
    sha256 = said["sha256"]
    if len(sha256) != 64 or not all([c in "0123456789abcdef" for c in sha256]):
        raise ArtefactError("sha256 must be 64 lowercase hex digits")
