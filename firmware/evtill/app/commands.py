"""Carries out the backend's commands; which of them are obeyed says core.commands."""

import asyncio
import gc
import json
from binascii import a2b_base64

from evtill.app.access import remote_auth
from evtill.app.till import FAULTY
from evtill.core import session as states
from evtill.core.commands import Gate, result_mac
from evtill.core.errors import CommandError, EvtillError, JournalError, TariffError
from evtill.core.text import plain

_METHODS = ("app", "card", "wallet", "prepaid", "terminal")
_HEX = "0123456789abcdef"
_MOST = (1 << 53) - 1
_QR_SIZES = (21, 25, 29)  # versions 1 to 3: what a small display has 2 pixels a module for
_QR_S = 86400
_TEXT_MAX = 144  # 29 x 29 bits in base64
_RECEIPT_MAX = 60
_RESERVED_S = 86400  # longer than any driver is waited for


class Commands:
    """app: compose.App; key: the command key (bytes); nonce: this boot's."""

    def __init__(self, app, key, nonce):
        self._app = app
        self._key = key
        self._taking = False  # a token list
        self._gate = Gate(app.config["charger_id"], key, nonce)

    def handle(self, message):
        """Carries a command out. Returns the result to publish, as JSON text."""
        app = self._app
        clock = app.clock
        name = "unreadable"
        try:
            unix_s = None if clock.trust() == "U" else clock.unix_ms() // 1000
            command_id, name, args = self._gate.admit(message, unix_s)
            detail = self._carry_out(name, args) or ""
            status = "accepted"
            app.events.report("command_done", "%s %s" % (name, command_id))
        except CommandError as e:
            detail, command_id = e.args if len(e.args) == 2 else (e.args[0], command_id)
            status = "rejected"
            app.events.report("command_refused", "%s: %s" % (name, detail))
        result = {"id": command_id, "status": status, "detail": detail}
        if command_id is not None:  # the sender is known to be ours
            result["mac"] = result_mac(self._key, command_id, status, detail)
        return json.dumps(result)

    def _carry_out(self, name, args):
        job = {
            "start": self._start, "raise_ceiling": self._raise_ceiling, "stop": self._stop,
            "reserve": self._reserve, "cancel": self._cancel, "unlock": self._unlock,
            "set_time": self._set_time, "diagnostics": self._diagnostics, "reboot": self._reboot,
            "set_tokens": self._set_tokens, "set_display": self._set_display,
        }.get(name)  # fmt: skip
        if job is None:
            raise CommandError("%s is not supported" % name)
        return job(args)

    def _set_display(self, args):
        """args: qr (base64 of its bits, row by row, dark is 1), size (modules on a side) and
        expires_s (Unix) together: shown until a start command or session uses it, or it expires;
        or none of them: it goes. May be: receipt (where receipts are to be had)."""
        _check(args, {}, {"qr": _is_text, "size": lambda v: v in _QR_SIZES,
                          "expires_s": _is_amount,
                          "receipt": lambda v: _is_text(v) and len(v) <= _RECEIPT_MAX})
        face = self._app.charge_point.face
        given = [name for name in ("qr", "size", "expires_s") if name in args]
        qr = None
        if given:
            if len(given) < 3:
                raise CommandError("qr, size and expires_s go together")
            if not face.shows_qr():
                raise CommandError("this display shows no QR code")
            left_s = args["expires_s"] - self._app.clock.unix_ms() // 1000
            if not 0 < left_s <= _QR_S:
                raise CommandError("expires_s is not within the next %d s" % _QR_S)
            try:
                qr = args["size"], a2b_base64(args["qr"])
            except ValueError:
                raise CommandError("qr is not base64")
            if len(qr[1]) != (args["size"] ** 2 + 7) // 8:
                raise CommandError("qr has not %d bits" % args["size"] ** 2)
        face.offer(qr, args.get("expires_s"))
        if "receipt" in args:
            face.receipt = args["receipt"]

    def _start(self, args):
        """args: ref, method; may be: token (keyed hash in hex: that card may stop it),
        ceiling_minor (incl. VAT), ceiling_wh, ceiling_s."""
        _check(args, {"ref": _is_ref, "method": lambda v: v in _METHODS},
               {"token": _is_token, "ceiling_minor": _is_amount, "ceiling_wh": _is_amount,
                "ceiling_s": _is_amount})  # fmt: skip
        self._app.charge_point.face.offer(None)  # it was for this one, whatever comes of it
        ceiling_minor = args.get("ceiling_minor")
        self._enough(ceiling_minor)
        auth = remote_auth(args["method"], args.get("token"), args["ref"], ceiling_minor)
        seconds = args.get("ceiling_s")
        limits = (args.get("ceiling_wh"), None if seconds is None else seconds * 1000)
        why = self._app.charge_point.remote_start(auth, limits)
        if why:
            raise CommandError(why)

    def _enough(self, ceiling_minor):
        till = self._app.till
        if ceiling_minor is None:
            return
        try:
            till.pick_tariff()
            least_minor = till.least_minor() if till.tariff else 0
        except TariffError as e:
            raise CommandError(str(e))
        if ceiling_minor < least_minor:
            raise CommandError("ceiling is below the least session's %d" % least_minor)

    def _raise_ceiling(self, args):
        """args: ref, as the session was started with; ceiling_minor."""
        _check(args, {"ref": _is_ref, "ceiling_minor": _is_amount}, {})
        session = self._app.till.session
        auth = session.start["auth"] if session else {"ref": None}
        if auth["ref"] != args["ref"] or session.stop is not None:
            raise CommandError("no session with this ref")
        if auth["ceiling_minor"] is None or args["ceiling_minor"] <= auth["ceiling_minor"]:
            raise CommandError("the ceiling can only be raised")
        try:
            self._app.till.raise_ceiling(args["ceiling_minor"])
        except JournalError as e:
            raise CommandError(str(e))

    def _stop(self, args):
        """args: may be: ref; else whatever session there is."""
        _check(args, {}, {"ref": _is_ref})
        point = self._app.charge_point
        session = self._app.till.session
        if point.state[0] not in states.RUNNING + ("authorised",):
            raise CommandError("no session")
        if "ref" in args and (session is None or session.start["auth"]["ref"] != args["ref"]):
            raise CommandError("no session with this ref")
        point.post("stop", "Remote")

    def _reserve(self, args):
        """args: ref, expires_s (Unix); may be: token (keyed hash in hex: whose card may use it, or
        one of its group; a start with this ref may in any case), method (default app). Given again
        with the same ref, it has another end."""
        _check(args, {"ref": _is_ref, "expires_s": _is_amount},
               {"token": _is_token, "method": lambda v: v in _METHODS})  # fmt: skip
        now_ms = self._app.clock.unix_ms()
        if not 0 < args["expires_s"] - now_ms // 1000 <= _RESERVED_S:
            raise CommandError("expires_s is not within the next %d s" % _RESERVED_S)
        booking = {"ref": args["ref"], "method": args.get("method", "app"), "from_ms": now_ms,
                   "token": args.get("token"), "expires_s": args["expires_s"]}  # fmt: skip
        _answer(self._app.charge_point.reserve, booking)

    def _cancel(self, args):
        """args: ref of the reservation."""
        _check(args, {"ref": _is_ref}, {})
        _answer(self._app.charge_point.cancel, args["ref"])

    def _unlock(self, args):
        """Ends a session first, and lets the cable go when no energy flows any more. Whether the
        bolt has moved then, an event says if it has not."""
        _check(args, {}, {})
        point = self._app.charge_point
        why = point.plug.unlock()
        if why:
            raise CommandError(why)
        if point.state[0] in states.RUNNING + ("authorised",):
            point.post("stop", "Remote")
            return "the session is stopped first"

    def _set_time(self, args):
        """args: unix_ms."""
        _check(args, {"unix_ms": _is_amount}, {})
        moved_ms = self._app.clock.synchronise(args["unix_ms"])
        if moved_ms is None:
            raise CommandError("that is no time of today")
        self._app.events.report("clock_set", "command, by %d ms" % moved_ms)

    def _set_tokens(self, args):
        """args: path, on the payment API's host; sha256 of the signed file there. Accepted is that
        it is fetched: what comes of it, tokens_changed or tokens_refused tells."""
        _check(args, {"path": _is_path, "sha256": _is_sha256}, {})
        if not self._app.config["payment_host"]:
            raise CommandError("no payment_host is configured to fetch it from")
        if self._taking:
            raise CommandError("another one is on its way")
        self._taking = True
        asyncio.create_task(self._take_tokens(args["path"], args["sha256"]))
        return "on its way"

    async def _take_tokens(self, path, sha256):
        from evtill.app.compose import forget

        app = self._app
        name = "tokens_refused"
        why = "no room in the heap"
        try:
            from evtill.app import token_fetch

            why = "version %d" % await token_fetch.fetch(app, path, sha256)
            name = "tokens_changed"
            app.charge_point.recheck()
        except EvtillError as e:
            why = str(e)
        except OSError as e:
            why = "flash: %s" % e
        except MemoryError:
            pass
        finally:
            self._taking = False
            token_fetch = None
            forget("token_fetch")
            forget("token_intake")
            forget("artefact", "evtill.core")
            forget("token_update", "evtill.core")
            gc.collect()
        app.events.report(name, why)

    def _diagnostics(self, args):
        """args: may be: ref of a start: then it is said what has become of that."""
        _check(args, {}, {"ref": _is_ref})
        app = self._app
        if "ref" in args:
            try:
                return app.charge_point.whereabouts(args["ref"])
            except JournalError as e:
                raise CommandError(str(e))
        gc.collect()
        return "up %d s, heap %d used %d free, %d records and %d events wait, %s" % (
            app.clock.now_ms() // 1000, gc.mem_alloc(), gc.mem_free(), app.outbox.waiting(),
            app.events.ring.waiting(), app.charge_point.state[0],
        )  # fmt: skip

    def _reboot(self, args):
        """Refused while anybody charges."""
        _check(args, {}, {})
        if self._app.till.session:
            raise CommandError("a session is running")
        self._app.charge_point.reboot_soon()


def _answer(ask, *args):
    """Raises CommandError with why `ask(*args)` says that it cannot be, or that flash fails."""
    try:
        why = ask(*args)
    except OSError as e:
        why = "%s: %s" % (FAULTY, e)
    if why:
        raise CommandError(why)


def _check(args, must, may):
    """Raises CommandError unless `args` has the keys of `must`, may have those of `may`, no other,
    and each passes its test."""
    for key in must:
        if key not in args:
            raise CommandError("%s is missing" % key)
    for key in args:
        test = must.get(key) or may.get(key)
        if test is None:
            raise CommandError("unknown argument %s" % key[:32])
        if not test(args[key]):
            raise CommandError("%s is out of range" % key)


def _is_ref(value):
    """Text that may stand in a record and an OCMF string: 1 to 64 printable ASCII characters."""
    return (
        isinstance(value, str) and 1 <= len(value) <= 64
        and all([" " < c <= "~" and c not in '|"\\' for c in value])
    )  # fmt: skip


def _is_text(value):
    return isinstance(value, str) and len(value) <= _TEXT_MAX and plain(value)


def _is_token(value):
    return _is_hex(value, 16)


def _is_sha256(value):
    return _is_hex(value, 64)


def _is_hex(value, digits):
    return isinstance(value, str) and len(value) == digits and all([c in _HEX for c in value])


def _is_path(value):
    """Of a URL, as it is sent."""
    return (
        isinstance(value, str) and 2 <= len(value) <= 200 and value[0] == "/"
        and all(["!" <= c <= "~" and c not in "#\\" for c in value])
    )  # fmt: skip


def _is_amount(value):
    return type(value) is int and 0 <= value <= _MOST
