"""A plug that is known by a contact alone: nothing to lock, and no car to ask what it wants."""

import asyncio

_PLUG_MS = 250


class PlugContact:
    """plugged(): whether the plug is in; post(event, detail): to the session; report(name, detail):
    an event; beat(task): the supervisor's.

    Stands in for plug_side.PlugSide. why: why nobody can charge; here always None."""

    why = None

    def __init__(self, plugged, contactor, post, report, beat):
        self._plugged = plugged
        self._contactor = contactor
        self._post = post
        self._report = report
        self._beat = beat
        self.close = contactor.close
        self.open = contactor.open
        self.welded = contactor.welded

    async def prepare(self):
        return None

    ease = prepare

    def unlock(self):
        return "there is no lock"

    async def run(self):
        """Task: the plug's state, taken for true once it was the same twice."""
        known = before = False
        agreed = True
        while True:
            self._beat("plug")
            now = self._plugged()
            if now == before and now != known:
                known = now
                self._post("plugged" if now else "unplugged")
            before = now
            agrees = self._contactor.agrees() or not self._contactor.commanded_closed
            if not agrees and not agreed:
                self._report("contactor_fault", "does not close")
                self._post("fault", "TillFault")
            agreed = agrees or not agreed
            await asyncio.sleep_ms(_PLUG_MS)
