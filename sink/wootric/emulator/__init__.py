"""Wootric on loopback: a stand-in with faults to order and a journal of every effect."""

from sink.wootric.emulator.behaviour import Behaviour
from sink.wootric.emulator.faults import (
    Answer,
    Delay,
    Drop,
    LateEffect,
    LostReplies,
    LostRequests,
    Order,
    Truncate,
)
from sink.wootric.emulator.journal import Entry, Journal
from sink.wootric.emulator.server import Emulator, serve
from sink.wootric.emulator.state import (
    Decline,
    Effect,
    EndUser,
    PageView,
    Response,
    State,
)

__all__ = [
    "Answer",
    "Behaviour",
    "Decline",
    "Delay",
    "Drop",
    "Effect",
    "Emulator",
    "EndUser",
    "Entry",
    "Journal",
    "LateEffect",
    "LostReplies",
    "LostRequests",
    "Order",
    "PageView",
    "Response",
    "State",
    "Truncate",
    "serve",
]
