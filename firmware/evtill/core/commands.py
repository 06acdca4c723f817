"""Which commands a charger obeys (design, section 7: `cmd`).

A command is a JWS HS256 under the charger's command key over {charger, cmd, id, iat, exp, nonce,
args}, times in Unix seconds. `nonce` is this boot's, so that nothing survives a reboot; ids are
remembered until they expire, so that nothing is obeyed twice.
"""

import json
from binascii import hexlify

from evtill.core import jws
from evtill.core.crypto.hashes import hmac_sha256
from evtill.core.errors import CommandError, SignatureError

NAMES = (
    "start raise_ceiling stop unlock reserve cancel set_tariff set_tokens set_display set_config "
    "set_time renew_certificate update diagnostics reboot"
)

_LIFE_MAX_S = 600
_SKEW_S = 30  # by so much the sender's clock may be ahead of ours
_ID_MAX = 64
_SEEN_MAX = 32
_FIELDS = {"charger": str, "cmd": str, "id": str, "iat": int, "exp": int, "nonce": str,
           "args": dict}  # fmt: skip


def result_mac(key, command_id, status, detail):
    """What proves a command's result, {id, status, detail, mac}: its HMAC-SHA256 in hex under the
    command key. That a session never began, say, is worth money."""
    said = "evtill result\n%s\n%s\n%s" % (command_id, status, detail)
    return hexlify(hmac_sha256(key, said.encode())).decode()


class Gate:
    """charger: its id; key: its command key (bytes); nonce: this boot's, as `status` names it."""

    def __init__(self, charger, key, nonce):
        self._charger = charger
        self._key = key
        self._nonce = nonce
        self._seen = {}  # id: exp

    def admit(self, message, unix_s):
        """(id, name, args) of a command to obey. unix_s: now, None while the clock is not to be
        trusted: then `set_time` alone is let in, which is what the nonce is for.

        Raises CommandError(why, id), the id None where the sender is not known to be ours."""
        try:
            said = json.loads(jws.hs256_verify(message, jws.COMMAND, self._key))
        except (SignatureError, ValueError) as e:
            raise CommandError(str(e) or "not JSON", None)
        if not isinstance(said, dict) or set(said) != set(_FIELDS):
            raise CommandError("fields must be " + " ".join(sorted(_FIELDS)), None)
        for name in _FIELDS:
            # isinstance would take True for an int
            if type(said[name]) is not _FIELDS[name]:
                raise CommandError("%s has the wrong type" % name, None)
        if not 1 <= len(said["id"]) <= _ID_MAX:
            raise CommandError("id must have 1 to %d characters" % _ID_MAX, None)
        why = self._why_not(said, unix_s)
        if why:
            raise CommandError(why, said["id"])
        self._seen[said["id"]] = said["exp"]
        return said["id"], said["cmd"], said["args"]

    def _why_not(self, said, unix_s):
        if said["charger"] != self._charger:
            return "for another charger"
        if said["nonce"] != self._nonce:
            return "nonce is not this boot's"
        if not 0 < said["exp"] - said["iat"] <= _LIFE_MAX_S:
            return "exp must be 1 to %d s after iat" % _LIFE_MAX_S
        if said["cmd"] not in NAMES.split():
            return "unknown command"
        if unix_s is None:
            if said["cmd"] != "set_time":
                return "clock is not set: only set_time is accepted"
        elif said["exp"] <= unix_s:
            return "expired"
        elif said["iat"] > unix_s + _SKEW_S:
            return "issued in the future"
        else:
            self._forget(unix_s)
        if said["id"] in self._seen:
            return "replayed"
        if len(self._seen) >= _SEEN_MAX:
            return "too many commands"
        return None

    def _forget(self, unix_s):
        for name in [name for name in self._seen if self._seen[name] <= unix_s]:
            del self._seen[name]
