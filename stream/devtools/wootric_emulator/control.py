"""The emulator's controls over HTTP, so that another process can order faults and look.

They are never authenticated: the emulator listens on loopback only.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from stream.devtools.wootric_emulator import faults, views
from stream.devtools.wootric_emulator.call import Call, Reply
from stream.devtools.wootric_emulator.forms import parse
from stream.devtools.wootric_emulator.journal import effect_fields

if TYPE_CHECKING:
    from stream.devtools.wootric_emulator.server import Emulator

PREFIX = "/_emulator/"


def answer(emulator: "Emulator", call: Call, body: bytes) -> Reply:
    """Return the reply to one control request."""
    control = CONTROLS.get((call.method, call.path.removeprefix(PREFIX)))
    if control is None:
        return Reply.of(404, {"error": "no such control"})
    try:
        return Reply.of(200, control(emulator, call, body))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Reply.of(400, {"error": f"{type(error).__name__}: {error}"})


def _state(emulator: "Emulator", _: Call, __: bytes) -> object:
    state = emulator.state
    return {
        "end_users": [
            views.end_user(user, state.responses_of(user.id)) for user in state.end_users.values()
        ],
        "responses": [views.response(one) for one in state.responses.values()],
        "declines": [views.single_decline(one) for one in state.declines.values()],
        "page_views": list(state.page_views),
        "counters": [
            {"method": method, "route": route, "status": status, "count": count}
            for (method, route, status), count in emulator.journal.counters.items()
        ],
    }


def _count(emulator: "Emulator", _: Call, __: bytes) -> object:
    return {"effects": len(emulator.state.effects)}


def _effects(emulator: "Emulator", call: Call, _: bytes) -> object:
    return [effect_fields(effect) for effect in emulator.state.effects[_from(call) :]]


def _journal(emulator: "Emulator", call: Call, _: bytes) -> object:
    return [entry.to_fields() for entry in emulator.journal.since(_from(call))]


def _unused(emulator: "Emulator", _: Call, __: bytes) -> object:
    return {
        "unused": [
            {"method": one.method, "path": one.path, "fault": type(one.fault).__name__}
            for one in emulator.unused_faults()
        ]
    }


def _order(emulator: "Emulator", call: Call, body: bytes) -> object:
    """Order everything that a document names, or nothing if a part of it is wrong."""
    document: dict[str, Any] = orjson.loads(body)
    unknown = document.keys() - {"faults", "random", "behaviour"}
    if unknown:
        raise ValueError(f"no such part: {', '.join(sorted(unknown))}")
    behaviour = emulator.behaviour.changed(document.get("behaviour", {}))
    scattered = [faults.random_fault(one) for one in document.get("random", ())]
    orders = [faults.order(one) for one in document.get("faults", ())]
    emulator.behaviour = behaviour
    for fault in scattered:
        emulator.at_random(fault)
    for order in orders:
        emulator.faults.order(order)
    return _unused(emulator, call, body)


def _revoke(emulator: "Emulator", _: Call, __: bytes) -> object:
    emulator.revoke_tokens()
    return {}


def _reset(emulator: "Emulator", _: Call, __: bytes) -> object:
    emulator.reset()
    return {}


CONTROLS: dict[tuple[str, str], Callable[["Emulator", Call, bytes], object]] = {
    ("GET", "state"): _state,
    ("GET", "count"): _count,
    ("GET", "effects"): _effects,
    ("GET", "journal"): _journal,
    ("GET", "faults"): _unused,
    ("POST", "faults"): _order,
    ("POST", "revoke"): _revoke,
    ("POST", "reset"): _reset,
}


def _from(call: Call) -> int:
    return int(str(parse(call.query).get("from", "0")))
