"""A request and its reply, free of any web framework."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

import orjson

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``query`` and ``form`` are still URL-encoded, as they came.

    ``base`` is ``/api`` at the regional hosts, where the same resources lie below it.
    """

    method: str
    path: str
    query: str = ""
    form: str = ""
    authorization: str | None = None
    base: str = ""

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's parts, decoded one by one: an encoded slash stays inside its part."""
        parts = self.path.strip("/").split("/")
        return tuple(unquote(part) if "%" in part else part for part in parts)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON

    @classmethod
    def of(cls, status: int, document: object, headers: Mapping[str, str] | None = None) -> "Reply":
        """Return a reply with ``document`` as JSON."""
        return cls(status, orjson.dumps(document), headers or {})
