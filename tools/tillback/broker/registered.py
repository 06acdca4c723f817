"""Who may use the embedded broker: the registered chargers, and the backend itself."""

import hmac
import logging
import secrets
from collections.abc import Callable

from amqtt.session import Session

from tillback.broker import passwords, rights
from tillback.store import Store

log = logging.getLogger(__name__)

# (charger's id, its user) -> its hashed password, None where there is none.
Login = Callable[[str, str], str | None]


def login(store: Store) -> Login:
    """The chargers that are registered there, at the time."""
    def find(charger: str, user: str) -> str | None:
        found = store.charger(charger)
        known = found is not None and (found.mqtt_user or found.id) == user
        return found.mqtt_password_hash if found is not None and known else None

    return find


class Registered:
    """A Guard. A charger connects with its id as client id, so that none can take another's session
    over; `password` is the backend's own, of this process's life."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self.password = secrets.token_hex(16)

    def admits(self, session: Session) -> bool:
        user, given = session.username or "", session.password or ""
        if user == rights.BACKEND:
            return hmac.compare_digest(given.encode(), self.password.encode())
        charger = session.client_id or ""
        kept = self._login(charger, user)
        if kept is None or not passwords.matches(given, kept):
            log.warning("MQTT: %.40r as client %.40r: unknown, or a wrong password", user, charger)
            return False
        will = session.will_topic if session.will_flag else None
        if will is not None and not rights.may(charger, "publish", will):
            log.warning("MQTT: %s with a last will on %.80r", charger, will)
            return False
        return True

    def may(self, session: Session, verb: str, topic: str) -> bool:
        if session.username == rights.BACKEND:
            return rights.backend_may(verb, topic)
        return rights.may(session.client_id or "", verb, topic)
