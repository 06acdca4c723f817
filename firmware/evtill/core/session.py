"""The session's states and transitions: step(state, event, detail) -> (state, effects).

A state is a tuple (name, token, plugged, ended):
  name     one of STATES
  token    whose session it is, or is going to be; None otherwise
  plugged  whether the plug is in the car
  ended    the stop reason of the session that is being closed, else None

Events and what `detail` is:
  tap          a card's token             plugged, unplugged   (none)
  remote       (token, auth, limits) of a start command
  accepted     (none)                     refused              why, as the driver reads it
  started      (none)                     start_failed         why, as the driver reads it
  idle, active (none): what the meter says the car draws
  stop         a stop reason of core.record.STOP_REASONS: a command or a limit
  closed       (none): the session's record is durable
  expired      (none): the plug did not come in time
  fault        a stop reason; cleared     (none)
  disable, enable                         (none): the operator

Effects are (name, detail) and are carried out in order; `authorise`, `start` and `stop` report
back with an event of their own (accepted | refused, started | start_failed, closed).
"""

# Text, for `.split()`: a tuple of names costs a board more.
STATES = "available authorising authorised charging suspended finishing faulted unavailable"
EVENTS = (
    "tap remote plugged unplugged accepted refused started start_failed idle active stop closed "
    "expired fault cleared disable enable"
)

INITIAL = ("available", None, False, None)
RUNNING = ("charging", "suspended")


def step(state, event, detail=None):
    """The next state and the effects that lead there. Events that mean nothing in a state leave
    it as it is, without effects; an unknown event is our own mistake (KeyError)."""
    name, token, plugged, ended = state
    if event in ("plugged", "unplugged"):
        plugged = event == "plugged"
        state = (name, token, plugged, ended)
    handler = _TABLE.get((name, event))
    if handler is None:
        if event not in EVENTS.split():
            raise KeyError(event)
        return state, ()
    return handler(state, detail)


def _to(name, state, *effects, token=None, ended=None):
    return (name, token, state[2], ended), effects


def _tap_available(state, token):
    return _to("authorising", state, ("authorise", token), token=token)


def _remote(state, claim):
    effect = ("start", claim[0]) if state[2] else ("ask_plug", None)
    return _to("authorised", state, ("claim", claim), effect, token=claim[0])


def _accepted(state, _):
    effect = ("start", state[1]) if state[2] else ("ask_plug", None)
    return _to("authorised", state, effect, token=state[1])


def _refused(state, why):
    return _to("available", state, ("say_refused", why))


def _tap_authorised(state, token):
    if token == state[1]:
        return _to("available", state, ("say_cancelled", None))
    return state, (("say_in_use", None),)


def _plugged_authorised(state, _):
    return state, (("start", state[1]),)


def _expired(state, _):
    return _to("available", state, ("say_refused", "no plug in time"))


def _started(state, _):
    if not state[2]:  # pulled out while the contactor closed
        return _stop(state, "EVDisconnected")
    return _to("charging", state, token=state[1])


def _tap_running(state, token):
    if token == state[1]:
        return _stop(state, "Local")
    return state, (("say_in_use", None),)


def _stop(state, reason):
    return _to("finishing", state, ("stop", reason), token=state[1], ended=reason)


def _unplugged_running(state, _):
    return _stop(state, "EVDisconnected")


def _idle(state, _):
    return _to("suspended", state, token=state[1])


def _active(state, _):
    return _to("charging", state, token=state[1])


def _closed(state, _):
    return _to("available", state, ("say_finished", state[3]))


def _fault(state, reason):
    return _to("faulted", state, ("say_fault", reason))


def _cleared(state, _):
    return _to("available", state, ("say_available", None))


def _disable(state, _):
    return _to("unavailable", state, ("say_unavailable", None))


_TABLE = {
    ("available", "tap"): _tap_available,
    ("available", "remote"): _remote,
    ("available", "fault"): _fault,
    ("available", "disable"): _disable,
    ("authorising", "accepted"): _accepted,
    ("authorising", "refused"): _refused,
    ("authorising", "fault"): _fault,
    ("authorised", "tap"): _tap_authorised,
    ("authorised", "plugged"): _plugged_authorised,
    ("authorised", "started"): _started,
    ("authorised", "start_failed"): _refused,
    ("authorised", "expired"): _expired,
    ("authorised", "stop"): lambda state, _: _to("available", state, ("say_cancelled", None)),
    ("authorised", "fault"): _fault,
    ("charging", "tap"): _tap_running,
    ("charging", "stop"): _stop,
    ("charging", "fault"): _stop,
    ("charging", "unplugged"): _unplugged_running,
    ("charging", "idle"): _idle,
    ("suspended", "tap"): _tap_running,
    ("suspended", "stop"): _stop,
    ("suspended", "fault"): _stop,
    ("suspended", "unplugged"): _unplugged_running,
    ("suspended", "active"): _active,
    ("finishing", "closed"): _closed,
    ("faulted", "cleared"): _cleared,
    ("faulted", "disable"): _disable,
    ("unavailable", "enable"): _cleared,
}
