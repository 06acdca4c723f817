"""What the driver's page is made of. Money in minor units, energy in Wh, times in Unix seconds."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# In what state a session is, as its driver sees it -> after how many seconds the page asks for news
# (0: it does not).
STATES = {
    "offer": 0,  # the price list, before anything is paid
    "paying": 3,  # the provider has not yet said whether the money is held
    "starting": 3,  # held; the plug or the charger is waited for
    "charging": 5,
    "stopping": 3,  # the stop command is on its way, or the record is
    "finished": 5,  # billed; until the money is settled as well
    "refused": 0,  # the payment, or the charger before it
    "expired": 0,  # the code in the URL, or the payment
    "offline": 0,  # the charger or the provider cannot be reached: nobody pays
    "not_started": 3,  # paid, and not charged: until the hold is released
}
REASONS = (
    "card_declined", "payment_cancelled", "payment_failed", "payment_late", "code_expired",
    "code_used", "in_use", "reserved", "out_of_order", "charger_offline", "payments_down",
    "no_plug", "cancelled", "charger_refused", "charger_failed", "unknown",
)  # fmt: skip
METHODS = {"card": "", "apple_pay": "Apple Pay", "google_pay": "Google Pay", "link": "Link"}
HOLDS = ("none", "held", "released")
_NEEDS = {
    "offer": ("table",), "starting": ("table", "plug_in_by_s"), "charging": ("table", "live"),
    "finished": ("settled",), "refused": ("reason",), "expired": ("reason",),
    "offline": ("reason",), "not_started": ("reason",),
}  # fmt: skip
_URL = re.compile(r"(https://|\./|/(?!/)|\?)[A-Za-z0-9._~:/?#@!$&()*+,;=%\[\]-]*")


@dataclass(frozen=True)
class Charger:
    """Where the driver stands. `id` is what is printed on the charger; `phone` is the operator's,
    for help; `place` one line of address."""

    id: str
    name: str = ""
    place: str = ""
    operator: str = ""
    phone: str = ""
    power_w: int | None = None


@dataclass(frozen=True)
class Live:
    """What the charger's `meter` topic said last, at `at_s`. `idle_since_s`: since when the car
    draws nothing, or None. `limit_near`: the charger will soon stop ahead of the hold."""

    at_s: int
    energy_wh: int
    duration_ms: int
    cost_minor: int
    power_w: int | None = None
    idle_since_s: int | None = None
    limit_near: bool = False


@dataclass(frozen=True)
class Settled:
    """What a session came to. `captured_minor` and `released_minor` are None while the provider
    has not confirmed them; `open_minor` is what the driver still owes after a capture that failed.
    `stop_reason` is the record's."""

    total_minor: int
    energy_wh: int
    duration_ms: int
    captured_minor: int | None = None
    released_minor: int | None = None
    refunded_minor: int = 0
    open_minor: int = 0
    stop_reason: str = ""


@dataclass(frozen=True)
class Links:
    """Where the page's buttons lead: paths or https URLs. `pay`, `stop` and `cancel` are POSTed to;
    `back` is the provider's page of a payment under way, `again` a fresh offer. "": there is no
    such button. `assets` is the folder under which pages.assets.ASSETS are served."""

    pay: str = ""
    stop: str = ""
    cancel: str = ""
    back: str = ""
    again: str = ""
    receipt: str = ""
    status: str = "./status.json"
    assets: str = "./"


@dataclass(frozen=True)
class PayPage:
    """A page at `now_s`. `table` is the compact tariff in force, or of the session.

    `hold_minor` is what is reserved (0: nothing has to be paid) and what the session ends ahead
    of; `methods`, of METHODS, none: nobody can pay now. `hold_state`, of HOLDS, says what has
    become of the hold where nobody charged. `detail`: why a charger refused, in its own words.
    `query`: the parameters of this page's URL beside `lang`, kept when the language is changed;
    `hidden`: what every form carries beside `lang`.
    Raises ValueError for a page that does not hold together: our own mistake."""

    state: str
    charger: Charger
    currency: str
    now_s: int
    table: bytes | None = None
    hold_minor: int = 0
    methods: tuple[str, ...] = ()
    plug_in_by_s: int | None = None
    plugged: bool = False
    live: Live | None = None
    settled: Settled | None = None
    reason: str = ""
    detail: str = ""
    hold_state: str = "none"
    links: Links = Links()
    query: Mapping[str, str] = field(default_factory=dict)
    hidden: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"no state {self.state!r}")
        for name in _NEEDS.get(self.state, ()):
            if getattr(self, name) in (None, ""):
                raise ValueError(f"{self.state} needs {name}")
        if self.reason and self.reason not in REASONS:
            raise ValueError(f"no reason {self.reason!r}")
        if self.hold_state not in HOLDS:
            raise ValueError(f"no hold state {self.hold_state!r}")
        for method in self.methods:
            if method not in METHODS:
                raise ValueError(f"no method {method!r}")
        for name, url in vars(self.links).items():
            if url and not _URL.fullmatch(url):
                raise ValueError(f"links.{name} is no path and no https URL: {url!r}")
