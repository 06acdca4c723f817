"""A plug that is known by a contact alone: nothing to lock, and no car to ask what it wants."""

import asyncio

_PLUG_MS = 250


class PlugContact:
    """plugged(): whether the plug is in; post(event): to the session; beat(task): the supervisor's.

    Stands in for plug_side.PlugSide. why: why nobody can charge; here always None."""

    why = None

    def __init__(self, plugged, contactor, post, beat):
        self._plugged = plugged
        self._post = post
        self._beat = beat
        self.close = contactor.close
        self.open = contactor.open
        self.agrees = contactor.agrees
        self.welded = contactor.welded

    async def prepare(self):
        return None

    async def ease(self):
        pass

    def unlock(self):
        return "there is no lock"

    async def run(self):
        """Task: the plug's state, taken for true once it was the same twice."""
        known = False
        before = False
        while True:
            self._beat("plug")
            now = self._plugged()
            if now == before and now != known:
                known = now
                self._post("plugged" if now else "unplugged")
            before = now
            await asyncio.sleep_ms(_PLUG_MS)
