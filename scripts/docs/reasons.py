"""Meaning and remedy of each outcome and reason, checked against the code."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from scripts.docs import sources

BY_THE_CODE = ""
"""The meaning is the text of the command `trace`."""

REASONS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("delivered", ""): ("Wootric holds the effect", "nothing"),
    ("skipped", "unchanged"): (BY_THE_CODE, "nothing"),
    ("skipped", "disabled"): (BY_THE_CODE, "nothing"),
    ("skipped", "unsupported_type"): (
        BY_THE_CODE,
        "nothing; for surveys set `integrations.Wootric.eventType`",
    ),
    ("skipped", "no_identity"): (BY_THE_CODE, "identify the visitor first"),
    ("skipped", "no_url"): (BY_THE_CODE, "send the address"),
    ("skipped", "no_email"): (BY_THE_CODE, "identify them with an e-mail"),
    ("skipped", "identity_taken"): (
        BY_THE_CODE,
        "merge or rename the two in Wootric; the next identify updates it",
    ),
    ("skipped", "delete_disabled"): (BY_THE_CODE, "set it if deletes are intended"),
    ("skipped", "page_views_off"): (BY_THE_CODE, "nothing"),
    ("skipped", "absent"): (
        BY_THE_CODE,
        "nothing, unless the end user has another e-mail or user id in Wootric: look there",
    ),
    ("skipped", "tombstone"): (BY_THE_CODE, "nothing"),
    ("skipped", "stale"): (BY_THE_CODE, "nothing; `dlq replay --force` applies it anyway"),
    ("duplicate", "message_id"): (
        "an event with this messageId was settled before",
        "nothing; if many: check the producer",
    ),
    ("duplicate", "redelivered"): ("the same record, read again after a restart", "nothing"),
    ("rejected", "undecodable"): (
        "the bytes have no Avro framing, or another one, or do not fit their schema; `x-detail` names JSON and framings that are recognised",
        "check [the producer](../how-to/install/own-producer.md)",
    ),
    ("rejected", "unknown_schema"): (
        "no schema of this fingerprint is in `schemas/avro/` (a `logicalType` changes it in some libraries), or the registry did not know the id for `SCHEMA_REGISTRY__UNKNOWN_ID_TIMEOUT_S`",
        "add or register the schema, replay",
    ),
    ("rejected", "no_registry"): (
        "a value in Confluent's framing, and no registry is set",
        "set `SCHEMA_REGISTRY__URL`, replay",
    ),
    ("rejected", "unresolvable"): (
        "the writer's schema cannot be read with the service's schema; `x-detail` names the record, and the field with both types or its unit",
        "change it by the rules of `schemas/avro/README.md`",
    ),
    ("rejected", "trailing_bytes"): ("bytes follow the value", "check the producer"),
    ("rejected", "invalid_json"): (
        "traits, properties, context, integrations or extra is not JSON; from `bridge --from-topic`: the record is not a JSON object; in `transform`: the line is not JSON",
        "check the producer",
    ),
    ("rejected", "invalid_event"): (
        "the type is missing; from the bridge: neither userId nor anonymousId, a messageId that is no text or has more than 100 characters, or an item of the array that is no object",
        "check the producer",
    ),
    ("rejected", "invalid_user_id"): (
        "userId is not text, or has more than 1,000 characters",
        "send it as text",
    ),
    ("rejected", "invalid_email"): (
        "the e-mail is not text, or has more than 1,000 characters",
        "send one e-mail as text",
    ),
    ("rejected", "invalid_phone"): (
        "the phone is neither text nor number, or has more than 1,000 characters",
        "send it as text",
    ),
    ("rejected", "invalid_score"): (
        "the score is not a whole number from 0 to 10",
        "fix the survey",
    ),
    ("rejected", "invalid_text"): (
        "the answer's text is neither text nor number",
        "fix the survey",
    ),
    ("rejected", "traits_not_object"): (
        "traits (or context.traits) is JSON, but not an object; null and `[]` count as an empty one",
        "check the producer",
    ),
    ("rejected", "properties_not_object"): (
        "properties are JSON, but not an object; null and `[]` count as an empty one",
        "check the producer",
    ),
    ("rejected", "context_not_object"): (
        "context is JSON, but not an object; null and `[]` count as an empty one",
        "check the producer",
    ),
    ("rejected", "page_not_object"): (
        "context.page is JSON, but not an object; null and `[]` count as an empty one",
        "check the producer",
    ),
    ("rejected", "properties_too_large"): (
        "the flattened properties of one event, with their full names, have more than 262,144 characters",
        "send less, or less nesting",
    ),
    ("rejected", "too_deep"): ("traits are nested deeper than 32 levels", "flatten them"),
    ("rejected", "taken_but_not_found"): (
        "Wootric says that another end user holds the identity, and neither the look-up nor the list shows one",
        "find them in Wootric: lists may hide who was never surveyed",
    ),
    ("rejected", "already_taken"): (
        "another end user holds a unique value, and a look-up cannot find it",
        "find it in Wootric; merge or rename",
    ),
    ("rejected", "email_taken"): ("the same; Wootric names an e-mail", "the same"),
    ("rejected", "phone_number_taken"): ("the same; Wootric names a phone number", "the same"),
    ("rejected", "phone_number_not_findable"): (
        "an end user with only a phone number that does not start with `+`: Wootric would not find it again, and each identify would create another one",
        "send the number with `+` and country code, or a user id",
    ),
    ("rejected", "validation"): (
        "Wootric reports an invalid value; `x-detail` has the text",
        "fix the value",
    ),
    ("rejected", "invalid_value"): (
        "Wootric rejects the value of a field; `x-detail` has the text",
        "fix the value",
    ),
    ("rejected", "missing_value"): (
        "a required field is missing; `x-detail` has the text",
        "send the field (usually an e-mail)",
    ),
    ("rejected", "record_not_found"): ("Wootric has no such record", "see `x-detail`"),
    ("rejected", "forbidden"): (
        "Wootric forbids this request while others succeed",
        "ask Wootric, then replay",
    ),
    ("rejected", "bad_request"): ("status 400", "see `x-detail`"),
    ("rejected", "method_not_allowed"): ("status 405", "check `WOOTRIC__API_URL`"),
    ("rejected", "not_acceptable"): ("status 406", "check `WOOTRIC__API_URL`"),
    ("rejected", "conflict"): ("status 409", "see `x-detail`"),
    ("rejected", "gone"): ("status 410", "see `x-detail`"),
    ("rejected", "too_large"): (
        "status 413, 414 or 431; from the bridge: an event of more than 32 KB; from `bridge --from-topic`: more bytes than the source's `max.message.bytes`, uncompressed",
        "shorten texts or properties",
    ),
    ("rejected", "too_old"): (
        "from the bridge, by `BRIDGE__MAX_AGE_S`: an event of an array was sent longer ago, or has neither `sentAt` nor `receivedAt`",
        "find out whether somebody repeats recorded requests; replay what is genuine",
    ),
    ("rejected", "unsupported_media_type"): ("status 415", "check `WOOTRIC__API_URL`"),
    ("rejected", "locked"): ("status 423", "replay later"),
    ("rejected", "status_*"): ("any other rejecting status, by its number", "see `x-detail`"),
    ("rejected", "lookup_*"): (
        "the look-up before the write was refused; `lookup_` is followed by one of the reasons above",
        "see that reason",
    ),
    ("rejected", "no_identity"): (
        "a response or decline without an end user reached the sink",
        "report it: the transform skips these",
    ),
    ("parked", "ambiguous"): (
        "a page view that may or may not have been counted",
        "dismiss it, or resend it and accept that it may be counted twice: `in-doubt resolve`",
    ),
    ("parked", "two_candidates"): (
        "two responses (or declines) match this one",
        "check in Wootric, then `in-doubt resolve`",
    ),
    ("parked", "operation_lost"): (
        "an intent too large to be stored, whose events no longer need a request",
        "check in Wootric for their effect",
    ),
    ("parked", "operation_changed"): (
        "an intent too large to be stored, whose events now request something else than what may have been sent",
        "check in Wootric for their effect",
    ),
    ("parked", "attempts_exhausted"): (
        "requests of this operation failed again and again while Wootric served others, or an operation of the same end user did within the last hour",
        "find out why Wootric fails for this end user, then `in-doubt resolve --as resend`; of a response or decline, check first that Wootric does not have it",
    ),
    ("parked", "lookup_*"): (
        "an earlier attempt may have been executed, and the look-up for it was refused; `lookup_` is followed by one of the reasons above",
        "check in Wootric, then `in-doubt resolve`",
    ),
    ("parked", "forbidden"): (
        "an earlier attempt may have been executed, and Wootric forbids this look-up while others succeed",
        "check in Wootric, then `in-doubt resolve`",
    ),
    ("parked", "record_not_found"): (
        "the end user exists, but their responses (or declines) were not found",
        "check in Wootric, then `in-doubt resolve`",
    ),
    ("parked", "list_incomplete"): (
        "the end user's responses (or declines) could not be listed to the end, or the list could not be read",
        "check in Wootric, then `in-doubt resolve`",
    ),
}

PREVIEW_MEANING = "only in `transform`: the value is JSON, but not an object. `publish` passes it on, and it is rejected as `undecodable`"

NOTES: Mapping[str, str] = {
    "invalid_created_at": "A `createdAt` that cannot be read does not reject its event: the profile is sent without it.",
    "invalid_timestamp": "A time of the call that cannot be read, or is beyond the year 9999 (microseconds in the place of milliseconds), is left out. The next time of the call counts, at last the record's.",
    "ignored_integration": 'The `integrations` object has a key that looks like `Wootric` but is spelled in another way, such as `WOOTRIC`. Segment ignores it, and so does this service, although it would change the outcome: `{"WOOTRIC": false}` does not disable Wootric.',
}
"""Values that are left out without rejecting their event, and what that means."""

RECORD_ERRORS = {"DecodeError", "UnknownSchemaError", "TransformError", "Invalid", "Rejected"}
"""Calls whose first argument is the reason of a dead letter."""


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield (outcome, reason, meaning, what to do).

    Raises:
        ValueError: the code has a reason that is not explained, or the reverse.
    """
    differ = set(REASONS) ^ in_code()
    if differ:
        raise ValueError(f"reasons of the code and of scripts/docs/reasons.py differ: {differ}")
    skips = sources.skips()
    for (outcome, reason), (meaning, then) in REASONS.items():
        yield outcome, reason, meaning or skips[reason], then
    yield "rejected", sources.preview_reason(), PREVIEW_MEANING, "check the file"


def in_code() -> set[tuple[str, str]]:
    """Return every (outcome, reason) of a record that occurs as a literal in the code."""
    found = sources.named_reasons()
    objects: set[str] = set()
    paths = (
        path
        for path in sources.code()
        if path.name not in sources.LEDGER_MODULES and sources.EMULATOR not in str(path)
    )
    for name, args, keywords in _calls(paths):
        reason = keywords.get("reason", args[0] if args else None)
        found |= _by_first(name, reason)
        if name == "rejected" and len(args) > 1:
            found |= {("rejected", text) for text in texts(args[1])}
        elif name in {"settle", "count"} and len(args) > 1:
            ends = list(texts(args[-1]))
            found |= {(outcome, text) for outcome in texts(args[-2]) for text in ends}
        elif name == "as_object":
            objects |= {text.rpartition(".")[2] for text in texts(args[1])}
    found.discard(("rejected", "*_not_object"))
    return found | {("rejected", f"{name}_not_object") for name in objects}


def _by_first(name: str, reason: ast.expr | None) -> set[tuple[str, str]]:
    """Return the (outcome, reason) pairs of a call whose first argument is a reason."""
    if reason is None:
        return set()
    if name in RECORD_ERRORS:
        outcomes = ["rejected"]
    else:
        outcomes = {
            "Skip": ["skipped"],
            "Skipped": ["skipped"],
            "Parked": ["parked"],
            "refused_for_good": ["rejected", "parked"],
        }.get(name, [])
    return {(outcome, text) for outcome in outcomes for text in texts(reason)}


def notes() -> Mapping[str, str]:
    """Return the notes with their meanings.

    Raises:
        ValueError: the code has a note that is not explained, or the reverse.
    """
    differ = NOTES.keys() ^ sources.notes()
    if differ:
        raise ValueError(f"notes of the code and of scripts/docs/reasons.py differ: {differ}")
    return NOTES


def texts(node: ast.expr) -> Iterator[str]:
    """Yield the possible texts of an expression; only literals are considered."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from texts(body)
            yield from texts(orelse)
        case ast.JoinedStr(values=values):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "*" for part in values
            )
        case _:
            pass


def _calls(
    paths: Iterable[Path],
) -> Iterator[tuple[str, list[ast.expr], dict[str, ast.expr]]]:
    for path in paths:
        for node in ast.walk(ast.parse(sources.read(path))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                yield name, node.args, {one.arg: one.value for one in node.keywords if one.arg}
