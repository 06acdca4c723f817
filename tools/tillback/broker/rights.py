"""Who may publish and hear what: design's topics `evtill/v1/<charger>/...`, each in one direction.

A charger is its user name on the broker, which is its id (over TLS, its certificate's CN)."""

import hashlib

ROOT = "evtill/v1"
UP = ("usage", "event", "status", "meter", "cmd/result")  # a charger publishes, the backend hears
DOWN = ("usage/ack", "event/ack", "cmd")  # the backend publishes, a charger hears


def share_group(password: str) -> str:
    """The ingesters' group in `$share/<group>/<filter>`, which only who has the backend's password
    can name. mosquitto (2.0, 2.1) lets every client join a group that it can name, and drops what
    falls to one that may not read it: a rogue charger could keep back its share of all records."""
    return "tillback-" + hashlib.sha256(f"evtill share {password}".encode()).hexdigest()[:32]


def may(user: str, verb: str, topic: str) -> bool:
    """Whether the charger `user` may `publish` to a topic, or `hear` one: itself a topic, or a
    filter to subscribe to."""
    names = UP if verb == "publish" else DOWN
    return not set("/+#") & set(user) and topic in {f"{ROOT}/{user}/{name}" for name in names}


def backend_may(verb: str, topic: str) -> bool:
    """As may(), for the backend. It may hear all that chargers say, in any filter of the kind
    evtill/v1/<charger or +>/<name>."""
    root, _, rest = topic.partition(f"{ROOT}/")
    charger, _, name = rest.partition("/")
    allowed = DOWN if verb == "publish" else UP
    exact = not set("+#") & set(charger) or (verb == "hear" and charger == "+")
    return root == "" and bool(charger) and exact and name in allowed
