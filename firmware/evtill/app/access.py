"""Who may charge, and for how much: the token list, the payment API, what is owed offline."""

import asyncio
from binascii import hexlify, unhexlify

from evtill.app.till import FAULTY
from evtill.core import tokens as lists
from evtill.core.errors import JournalError


class Claim:
    """Who is authorised, and to what. auth: as in the record; limits: as Till.start() takes them;
    how: the record's auth_method; free: whether it is to cost nothing; offline: whether the backend
    could not be asked; short: why its ceiling may be too low, for the display, or None."""

    def __init__(self, auth, limits, how, free=False, offline=False, short=None):
        self.auth = auth
        self.limits = limits
        self.how = how
        self.free = free
        self.offline = offline
        self.short = short


def remote_auth(method, token, ref, ceiling_minor):
    """`auth` as in the record, of somebody whom the backend has authorised."""
    assurance = "app" if method in ("app", "prepaid") else "card"
    return {"method": method, "token": token, "assurance": assurance, "ref": ref,
            "ceiling_minor": ceiling_minor}  # fmt: skip


class Access:
    """tokens: app.token_store.TokenStore; face: where a driver who waits sees for how long.

    ask: Uplink.authorise where there is a payment API, else None; tapped: (token, assurance) of
    the last card; claim: the Claim that the last decide() ended with; bookings: Bookings, where
    the charger may be reserved."""

    def __init__(self, config, tokens, till, clock, face, report):
        self._config = config
        self.tokens = tokens
        self.token_key = unhexlify(config["token_key"])
        self._till = till
        self._clock = clock
        self._face = face
        self._report = report
        self.ask = None
        self.tapped = (None, None)
        self.claim = None
        self.bookings = None

    async def decide(self, token):
        """The event for core.session: ("accepted", None), and `claim` says what to; or ("refused",
        why)."""
        assurance = self.tapped[1] if self.tapped[0] == token else "uid"
        if self.bookings and not self.bookings.lets(token, None):
            return self._refuse("start_refused", "reserved", "reserved for another")
        try:
            found = self.tokens.find(token)
        except (OSError, lists.TokenListError) as e:
            return self._refuse("start_refused", "%s %s" % (FAULTY, e), FAULTY)
        asks = lists.ASK | lists.PREPAID
        if self.ask and (found is None or found[1] & asks and not found[1] & lists.BLOCKED):
            return await self._ask(token, assurance, found)
        return self._by_list(token, assurance, found, False)

    def _by_list(self, token, assurance, found, offline):
        why = lists.why_not(found, self.unix_s())
        if why:
            return self._refuse(why[0], hexlify(token).decode(), why[1])
        return self._accept(token, assurance, found[1], None, found[3], "WHITELIST", offline)

    async def _ask(self, token, assurance, found):
        """The payment API says; while it is away, what it said last, or the configuration, or for a
        card that is listed (`found` is what the list has) the list. A prepaid one has to wait: its
        credit may have been used elsewhere."""
        seconds = self._config["payment_s"]
        waiting = asyncio.create_task(self._face.count_down(seconds))
        try:
            tariff = self._till.tariff
            answer = await self.ask(hexlify(token).decode(), tariff.currency if tariff else None)
        finally:
            waiting.cancel()
        offline = answer is None
        policy = self._config["offline"]
        if offline and (policy == "refuse" or found and found[1] & lists.PREPAID):
            detail = "%s: the backend is away" % hexlify(token).decode()
            return self._refuse("token_unknown", detail, "card cannot be checked now")
        answer = self._remember(token, answer)
        if answer is None:
            if found:
                return self._by_list(token, assurance, found, True)
            floor_minor = self._config["offline_floor_minor"] if policy == "floor" else 0
            answer = (floor_minor > 0, "card is not known", None, floor_minor, 0)
        allowed, text, ref, ceiling, flags = answer
        if not allowed:
            return self._refuse("token_unknown", hexlify(token).decode() + ": " + text, text)
        how = "WHITELIST" if offline else "AUTH_REQUEST"
        flags |= found[1] if found else 0
        return self._accept(token, assurance, flags, ref, ceiling, how, offline)

    def _accept(self, token, assurance, flags, ref, ceiling, how, offline):
        """The outcome for a card that may charge, if what is owed offline leaves it anything."""
        free = bool(flags & lists.FREE)
        short = None
        if offline and not free:
            try:
                ceiling, short = self._exposure("bound", token, ceiling)
            except (JournalError, OSError) as e:
                return self._refuse("start_refused", "%s %s" % (FAULTY, e), FAULTY)
            if short and ceiling <= 0:
                return self._refuse("start_refused", short, short)
        auth = {"method": "prepaid" if flags & lists.PREPAID else "rfid",
                "token": hexlify(token).decode(), "assurance": assurance, "ref": ref,
                "ceiling_minor": ceiling}  # fmt: skip
        self.claim = Claim(auth, (None, None), how, free, offline, short)
        return "accepted", None

    def _refuse(self, event, detail, why):
        self._report(event, detail)
        return "refused", why

    def owe(self, claim):
        """Keeps in mind what the session that is about to start may cost, if nobody could be asked.
        Raises JournalError, OSError."""
        if claim.offline and not claim.free:
            self._exposure("owe", unhexlify(claim.auth["token"]), claim.auth["ceiling_minor"])

    def _exposure(self, job, token, ceiling):
        """exposure.bound(), or exposure.owe() for the session that is about to start."""
        from evtill.app import exposure
        from evtill.app.compose import forget

        till = self._till
        folder = self.tokens.folder
        try:
            if job == "bound":
                return exposure.bound(self._config, folder, token, till.waits, ceiling)
            if exposure.is_bounded(self._config):
                exposure.owe(folder, token, till.next_seq(), ceiling, till.waits)
        finally:
            forget("exposure")

    def _remember(self, token, answer):
        """auth_cache.settle() of the payment API's answer."""
        from evtill.app import auth_cache
        from evtill.app.compose import forget

        try:
            life_s = self._config["auth_cache_s"]
            return auth_cache.settle(self.tokens.folder, token, self.unix_s(), life_s, answer)
        except OSError:
            return answer  # flash fails: nothing is remembered
        finally:
            forget("auth_cache")

    def same_group(self, token, owner):
        """Whether `token` may charge and is of the group of `owner`, whose session it is."""
        if not isinstance(owner, bytes):
            return False  # nobody's, or no card's
        try:
            other = self.tokens.find(token)
            if lists.why_not(other, self.unix_s()) or not other[0]:
                return False
            mine = self.tokens.find(owner)
        except (OSError, lists.TokenListError):
            return False
        return mine is not None and mine[0] == other[0]

    def is_blocked(self, token):
        """Whether the list says so now. One that is only gone from it stays welcome."""
        try:
            found = self.tokens.find(token)
        except (OSError, lists.TokenListError):
            return False
        return found is not None and bool(found[1] & lists.BLOCKED)

    def unix_s(self):
        unix_ms = self._clock.unix_ms()
        return None if unix_ms is None else unix_ms // 1000
