"""The kinds of values that requests hold, each with its form: whatever else comes is refused before
anything looks at it."""

import datetime
import re
from typing import Annotated, Any

from fastapi import Path
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

AMOUNT_MAX_MINOR = 100_000_000  # as chargers take it (net.payment_api)

# As `tillback register` takes it; printable ASCII, as it stands in OCMF.
_CHARGER = r"^[ -\"$-*,-.0-~]{1,34}$"
ChargerId = Annotated[str, StringConstraints(pattern=_CHARGER)]
ChargerInPath = Annotated[str, Path(pattern=_CHARGER, description="the charger's id")]
RecordInPath = Annotated[
    str, Path(pattern=r"^[ -\"$-*,-.0-~]{1,34}-[1-9][0-9]{0,14}$", description="the record's id")
]
_REF = r"^[A-Za-z0-9_-]{1,36}$"
Ref = Annotated[str, StringConstraints(pattern=_REF)]
RefInPath = Annotated[str, Path(pattern=_REF, description="its ref")]
IdInPath = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="its id")]
_TOKEN = r"^[0-9a-f]{16}$"
TokenHash = Annotated[str, StringConstraints(pattern=_TOKEN)]
TokenInPath = Annotated[str, Path(pattern=_TOKEN, description="the keyed hash of its UID")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 5.0 is the integer 5, to JSON Schema as well."""
    return int(value) if type(value) is float and value.is_integer() else value


Amount = Annotated[int, Field(ge=1, le=AMOUNT_MAX_MINOR), BeforeValidator(_whole)]
LifeS = Annotated[int, Field(ge=60, le=86400), BeforeValidator(_whole)]
# Printable, of the Basic Multilingual Plane: no control, no private use, no half of a pair.
Words = Annotated[str, StringConstraints(pattern=r"^[ -~\u00a1-\ud7ff]{1,200}$")]
_DATE, _TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
_MOMENT = f"^{_DATE}T{_TIME}(Z|[+-][0-9]{{2}}:[0-9]{{2}})$"


def _moment(value: Any) -> datetime.datetime:
    if not isinstance(value, str) or not re.fullmatch(_MOMENT, value):
        raise ValueError("want a time with its zone, such as 2026-03-02T08:31:47Z")
    try:
        return datetime.datetime.fromisoformat(value).astimezone(datetime.UTC)
    except OverflowError:
        raise ValueError("out of range") from None


# A time with its zone (RFC 3339), which arrives as UTC.
Moment = Annotated[
    AwareDatetime, BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _MOMENT}),
]  # fmt: skip


class Asked(BaseModel):
    """What a request's body is made of: no value is converted, no key is unknown."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Said(BaseModel):
    """What an answer is made of."""

    model_config = ConfigDict(frozen=True)
