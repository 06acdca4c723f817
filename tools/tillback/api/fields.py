"""The kinds of values that requests hold, each with its form: whatever else comes is refused before
anything looks at it."""

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

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
Amount = Annotated[int, Field(ge=1, le=AMOUNT_MAX_MINOR)]
Words = Annotated[str, StringConstraints(pattern=r"^[ -~¡-퟿]{1,200}$")]


class Asked(BaseModel):
    """What a request's body is made of: no value is converted, no key is unknown."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Said(BaseModel):
    """What an answer is made of."""

    model_config = ConfigDict(frozen=True)
