"""Emulator of Wootric on loopback, with fault injection and a journal of every effect."""

from stream.devtools.wootric_emulator.behaviour import Behaviour
from stream.devtools.wootric_emulator.faults import (
    Answer,
    Delay,
    Drop,
    LateEffect,
    LostReplies,
    LostRequests,
    Order,
    Truncate,
)
from stream.devtools.wootric_emulator.journal import Entry, Journal
from stream.devtools.wootric_emulator.server import Emulator, serve
from stream.devtools.wootric_emulator.state import (
    Decline,
    Effect,
    EmulatorState,
    EndUser,
    PageView,
    Response,
)

__all__ = [
    "Answer",
    "Behaviour",
    "Decline",
    "Delay",
    "Drop",
    "Effect",
    "Emulator",
    "EmulatorState",
    "EndUser",
    "Entry",
    "Journal",
    "LateEffect",
    "LostReplies",
    "LostRequests",
    "Order",
    "PageView",
    "Response",
    "Truncate",
    "serve",
]
