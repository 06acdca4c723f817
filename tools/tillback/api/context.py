"""What every resource has at hand: the database and the clock."""

from typing import Annotated

from fastapi import Depends, Request

from tillback.api.security import Clock
from tillback.db.database import Database


def _database(request: Request) -> Database:
    found: Database = request.app.state.database
    return found


def _clock(request: Request) -> Clock:
    found: Clock = request.app.state.clock
    return found


Data = Annotated[Database, Depends(_database)]
Now = Annotated[Clock, Depends(_clock)]
