"""Journal of all requests in the order of arrival, with their results."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from stream.devtools.wootric_emulator import parameters as forms
from stream.devtools.wootric_emulator.api import Call
from stream.devtools.wootric_emulator.state import Effect

Status: TypeAlias = int | Literal["dropped"]

SECRETS = re.compile(
    r"(access_token|refresh_token|client_secret|client_id|username|password)=[^&]*"
)


@dataclass(slots=True)
class Entry:
    """One request, without its credentials.

    ``status`` is None while it is in progress. ``at`` is in Unix seconds, ``started`` and
    ``duration_s`` are monotonic. ``form`` and ``query`` are URL-encoded, as received.
    """

    seq: int
    at: float
    started: float
    method: str
    path: str
    query: str
    form: str
    status: Status | None = None
    effect: Effect | None = None
    duration_s: float = 0.0
    fault: str | None = None

    @property
    def parameters(self) -> forms.Parameters:
        """The parameters of the query and the form, with Rails' brackets resolved."""
        return forms.parse(self.query, self.form)

    def to_fields(self) -> dict[str, Any]:
        """Return the entry as plain JSON values."""
        return {
            "seq": self.seq,
            "at": self.at,
            "monotonic": self.started,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "form": self.form,
            "status": self.status,
            "effect": None if self.effect is None else effect_fields(self.effect),
            "duration_s": self.duration_s,
            "fault": self.fault,
        }


def effect_fields(effect: Effect) -> dict[str, Any]:
    """Return an effect as plain JSON values."""
    return {
        "kind": effect.kind,
        "id": effect.id,
        "end_user_id": effect.end_user_id,
        "fields": dict(effect.fields),
        "at": effect.at,
    }


class Journal:
    """The requests and their counts by status; with ``keep=False`` only the counts."""

    def __init__(self, *, keep: bool = True) -> None:
        self._keep = keep
        self._last = 0
        self.entries: list[Entry] = []
        self.counters: Counter[tuple[str, str, Status]] = Counter()

    def open(self, call: Call, *, at: float, started: float) -> Entry:
        """Add a request."""
        self._last += 1
        query, form = call.query, call.form
        if call.path == "/oauth/token" or "access_token=" in query:
            query, form = _masked(query), _masked(form)
        entry = Entry(self._last, at, started, call.method, call.base + call.path, query, form)
        if self._keep:
            self.entries.append(entry)
        return entry

    def close(self, entry: Entry, status: Status, *, route: str, now: float) -> None:
        """Record the end of a request at ``now`` (monotonic seconds)."""
        entry.status = status
        entry.duration_s = now - entry.started
        self.counters[entry.method, route, status] += 1

    def since(self, seq: int) -> list[Entry]:
        """Return the entries from ``seq`` on."""
        return self.entries[max(0, seq - 1) :]


def _masked(encoded: str) -> str:
    return SECRETS.sub(r"\1=***", encoded)
