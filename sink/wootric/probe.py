"""Questions about Wootric that its documents leave open, and what its replies say about them. Pure.

Every reading is one of a bounded set of words, a status, or Wootric's error message with e-mails
and phone numbers masked: nothing in it is personal or secret.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sink.classify import Executed, RejectedByServer, classify
from sink.models import HttpResponse, Request, SendResult
from sink.wootric import replies
from sink.wootric.operations import CreateResponse, UpsertEndUser


@dataclass(frozen=True, slots=True)
class Question:
    """``key`` and ``assumed`` are a switch of the emulator and its default, if there is one.

    ``below`` is set for a number of seconds: any number below it is as assumed.
    """

    key: str
    text: str
    assumed: str
    below: float | None = None


QUIET_S = 60.0  # the default of WOOTRIC__QUIET_PERIOD_S

QUESTIONS = (
    Question("write_reply", "form of the reply to a create", "full"),
    Question("lookup_by_email", "the look-up by e-mail finds a new person", "found"),
    Question("lookup_absent", "reply to a look-up that finds nobody", "404"),
    Question("list_shows", "people whom the list by e-mail shows", "surveyed"),
    Question("email_taken_status", "second person with the same e-mail: status", "400"),
    Question("put_properties", "PUT: properties that it does not name", "replace"),
    Question("typed_properties", "text under a property that ends in _date", "refuse"),
    Question("survey_reply", "reply to a response", "empty"),
    Question("survey_delay_s", "seconds until a response is listed", "under 60", QUIET_S),
    Question("survey_time", "created_at of a response", "kept"),
    Question("unique_link", "second response with the same survey[unique_link]", "ignore"),
    Question("page_beyond", "page 31 of a list", "empty"),
    Question("duplicate_phone_number", "second person with the same phone number", "refuse"),
    Question("duplicate_external_id", "second person with the same external id", "allow"),
    Question("pixel", "reply of the pixel", "200 image/gif"),
    Question("delete_status", "reply to a delete: status", "202"),
    Question("delete_delay_s", "the person right after the delete", "found"),
    Question(
        "rate_limit",
        "headers about the rate limit",
        "X-Rate-Limit-Limit, X-Rate-Limit-Remaining, X-Rate-Limit-Reset",
    ),
)
"""In the order in which they are answered. The answer to ``unique_link`` says what becomes of the
second response; the guarantee must hold under ``ignore``."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The reading of a reply: the emulator's word for it, or another, and what supports it."""

    position: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.position} ({self.detail})" if self.detail else self.position


UNKNOWN = "unknown"
NOT_ASKED = Seen(UNKNOWN, "not asked")


def is_as_assumed(question: Question, seen: Seen) -> bool | None:
    """Return whether the reading is the assumed one; None if it is unknown."""
    if seen.position == UNKNOWN:
        return None
    if question.below is not None:
        return float(seen.position) < question.below
    return seen.position == question.assumed


# The test person


PROPERTY_KEPT = "probe_first"
PROPERTY_SET = "probe_second"
PROPERTY_TYPED = "probe_date"
NO_DATE = "soon"
SCORE = 8
AGE_S = 3600
"""Age of the responses: one that is recorded with the time of its arrival is recognized."""


@dataclass(frozen=True, slots=True)
class ProbePerson:
    """The test person of one run; ``suffix`` is random and makes its names unique."""

    suffix: str
    phone_number: str

    @property
    def external_id(self) -> str:
        """The external id, which no customer assigns."""
        return f"wootric-stream-probe-{self.suffix}"

    @property
    def emails(self) -> tuple[str, str, str]:
        """Return the e-mails of the person and of two creates that repeat another field.

        The domain is reserved for examples (RFC 2606).
        """
        first, second, third = (
            f"wootric-stream-probe+{self.suffix}{part}@example.com" for part in ("", "-2", "-3")
        )
        return first, second, third

    @property
    def profile(self) -> UpsertEndUser:
        """The person as created."""
        return UpsertEndUser(
            email=self.emails[0],
            external_id=self.external_id,
            properties={PROPERTY_KEPT: "first"},
        )

    def response(self, number: int, *, created_at: int) -> CreateResponse:
        """Return a response whose text names the probe and the number."""
        return CreateResponse(
            score=SCORE,
            text=f"test by wootric-stream doctor --probe-account, {self.suffix}, number {number}",
            origin_url="https://example.com/wootric-stream-probe",
            created_at=created_at,
        )

    def own_id(self, record: Any) -> int | None:
        """Return the id of a record that is this person; None for anybody else's."""
        if not isinstance(record, dict):
            return None
        own = record.get("email") in self.emails or record.get("external_id") == self.external_id
        return replies.identifier(record) if own else None


# Readings


MESSAGE_LENGTH_MAX = 120
_RATE_LIMIT = re.compile(r"(?:x-?)?rate-?limit[a-z-]{0,40}|retry-after", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[a-z]{1,20}/[a-z0-9.+-]{1,40}")


def unanswered(request: Request, result: SendResult) -> Seen | None:
    """Return why a result is no reply of the API to this request; None if it is one."""
    verdict = classify(result, writes=request.writes, accepts=request.accepts)
    if isinstance(verdict, Executed | RejectedByServer):
        return None
    if verdict.status is None:
        return Seen(UNKNOWN, f"no reply: {getattr(verdict, 'detail', verdict.label)}")
    return Seen(UNKNOWN, f"status {verdict.status}")


def is_refused(reply: HttpResponse) -> bool:
    """Return whether a write was refused."""
    return reply.status >= 300 or replies.is_error(reply.body)


def said(reply: HttpResponse) -> str:
    """Return the status and Wootric's error message, masked and shortened."""
    message = replies.message(reply.body)
    if message is None:
        return f"status {reply.status}"
    text = " ".join(replies.detail(reply.body).split())[:MESSAGE_LENGTH_MAX]
    return f"status {reply.status}, {text!r}"


def write_reply(reply: HttpResponse) -> Seen:
    """Read the form of the reply to a create: ``full`` as look-ups show it, or that of ``2015``."""
    record = replies.document(reply.body)
    if not isinstance(record, dict) or replies.identifier(record) is None:
        return Seen("other", f"status {reply.status}, no record")
    status = f"status {reply.status}"
    match record.get("properties"):
        case dict() if "external_id" in record:
            return Seen("full", status)
        case str():
            return Seen("2015", status)
        case _:
            return Seen("other", status)


def presence(found: bool) -> Seen:
    """Read whether a look-up finds the person."""
    return Seen("found" if found else "absent")


def lookup_absent(reply: HttpResponse) -> Seen:
    """Read how a look-up says that it finds nobody."""
    if reply.status != 200:
        return Seen(str(reply.status))
    if (reply.body or b"").strip() == b"null":
        return Seen("null")
    match replies.document(reply.body):
        case []:
            return Seen("list")
        case {"type": "error_list"}:
            return Seen("error_list")
        case _:
            return Seen("other")


def list_shows(before: bool, after: bool | None) -> Seen:
    """Read whom the list shows; ``after`` is None if no response was listed."""
    if before:
        return Seen("all")
    if after is None:
        return Seen(UNKNOWN, "not shown before a response")
    return Seen("surveyed") if after else Seen("nobody")


def email_taken(reply: HttpResponse) -> Seen:
    """Read the status of the refusal of a second person, and its words."""
    if not is_refused(reply):
        return Seen("created", f"status {reply.status}")
    _, _, message = said(reply).partition(", ")
    word = replies.reason(reply.status, reply.body)
    return Seen(str(reply.status), f"{word}, {message}" if message else word)


def duplicate(reply: HttpResponse) -> Seen:
    """Read whether a second person with the same value was refused."""
    if not is_refused(reply):
        return Seen("allow", f"status {reply.status}")
    return Seen("refuse" if replies.taken(reply.body) else "other", said(reply))


def put_properties(properties: Mapping[str, Any]) -> Seen:
    """Read what a PUT of one property left of the other."""
    if PROPERTY_SET not in properties:
        return Seen("dropped")
    return Seen("merge" if PROPERTY_KEPT in properties else "replace")


def typed_properties(reply: HttpResponse, properties: Mapping[str, Any]) -> Seen:
    """Read what became of a text under ``_date``; ``properties`` are those after the write."""
    if is_refused(reply):
        return Seen("refuse", said(reply))
    status = f"status {reply.status}"
    if PROPERTY_TYPED not in properties:
        return Seen("dropped", status)
    return Seen("keep" if properties[PROPERTY_TYPED] == NO_DATE else "changed", status)


def survey_reply(reply: HttpResponse) -> Seen:
    """Read whether the reply to a response has a body, and whether that is the record."""
    if is_refused(reply):
        return Seen("refused", said(reply))
    status = f"status {reply.status}"
    if not (reply.body or b"").strip():
        return Seen("empty", status)
    if replies.identifier(replies.document(reply.body)) is not None:
        return Seen("record", status)
    return Seen("other", f"{status}, {len(reply.body or b'')} bytes, {media_type(reply)}")


def unique_link(listed: int) -> Seen:
    """Read what became of a repeated response; two different ones were sent, one of them twice."""
    if listed not in {2, 3}:
        return Seen("other", f"{listed} listed of 3 sent")
    return Seen("ignore" if listed == 3 else "merge", f"{listed} listed of 3 sent")


def survey_time(record: Mapping[str, Any], sent: int) -> Seen:
    """Read whether a response has the time that was sent with it."""
    at = replies.seconds(record.get("created_at"))
    if at is None:
        return Seen("other", "no readable time")
    return Seen("kept") if at == sent else Seen("changed", f"by {at - sent} s")


def page_beyond(reply: HttpResponse) -> Seen:
    """Read the reply to a page after the last."""
    if is_refused(reply):
        return Seen(str(reply.status), said(reply))
    return Seen("empty" if replies.document(reply.body) == [] else "records")


def pixel(reply: HttpResponse) -> Seen:
    """Read status and content type."""
    return Seen(f"{reply.status} {media_type(reply)}")


def rate_limit(names: Iterable[str]) -> Seen:
    """Read which headers state a limit."""
    return Seen(", ".join(sorted(names)) or "none")


def rate_limit_headers(reply: HttpResponse) -> set[str]:
    """Return the names of the headers that state a limit."""
    return {name for name in reply.headers if _RATE_LIMIT.fullmatch(name)}


def media_type(reply: HttpResponse) -> str:
    """Return the media type without parameters."""
    match = _MEDIA_TYPE.match(reply.headers.get("Content-Type", "").lower())
    return match[0] if match else "no content type"
