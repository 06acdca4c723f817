"""Who may publish and hear what: design's topics `evtill/v1/<charger>/...`, each in one direction.

A charger is its user name on the broker, which is its id (over TLS, its certificate's CN)."""

import hashlib

ROOT = "evtill/v1"
UP = ("usage", "event", "status", "meter", "cmd/result")  # a charger publishes, the backend hears
DOWN = ("usage/ack", "event/ack", "cmd")  # the backend publishes, a charger hears

BACKEND = "/tillback"  # the backend's user: no charger's, as it has a slash


def share_group(password: str) -> str:
    """The ingesters' group in `$share/<group>/<filter>`, which only who has the backend's password
    can name. mosquitto (2.0, 2.1) lets every client join a group that it can name, and drops what
    falls to one that may not read it: a rogue charger could keep back its share of all records."""
    return "tillback-" + hashlib.sha256(f"evtill share {password}".encode()).hexdigest()[:32]


def may(charger: str, verb: str, topic: str) -> bool:
    """Whether a charger may `publish` to a topic, or `hear` it: a topic, or a filter to subscribe
    to."""
    names = UP if verb == "publish" else DOWN
    base = f"{ROOT}/{charger}/"
    return _plain(charger) and topic.startswith(base) and topic[len(base) :] in names


def backend_may(verb: str, topic: str) -> bool:
    """As may(), for the backend: any charger's, and to hear also evtill/v1/+/<name>."""
    charger, _, name = topic.removeprefix(f"{ROOT}/").partition("/")
    if verb == "hear":
        return topic.startswith(f"{ROOT}/") and name in UP and (charger == "+" or _plain(charger))
    return topic.startswith(f"{ROOT}/") and name in DOWN and _plain(charger)


def _plain(charger: str) -> bool:
    return bool(charger) and not set("/+#") & set(charger)
