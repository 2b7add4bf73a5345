"""Whether a listed response or decline is the one that an operation would have made. Pure."""

from collections.abc import Container, Iterable, Mapping
from typing import Any

from sink.wootric.operations import CreateDecline, CreateResponse
from sink.wootric.replies import identifier, seconds, whole


def candidates(
    listed: Iterable[Mapping[str, Any]],
    operation: CreateResponse | CreateDecline,
    *,
    claimed: Container[int],
) -> list[Mapping[str, Any]]:
    """Return what may be the effect of ``operation``, without what others have ``claimed``."""
    return [
        item for item in listed if is_effect_of(item, operation) and identifier(item) not in claimed
    ]


def is_effect_of(item: Mapping[str, Any], operation: CreateResponse | CreateDecline) -> bool:
    """Return whether nothing speaks against ``item`` being the effect of ``operation``.

    There is no marker of our own in it. A field that the list does not show, or that the
    operation leaves to Wootric, does not count: a list of declines shows no origin.
    """
    at = operation.created_at
    if at is not None and "created_at" in item and seconds(item["created_at"]) != at:
        return False
    if isinstance(operation, CreateResponse):
        if "score" in item and whole(item["score"]) != operation.score:
            return False
        if not _same_text(item, "text", operation.text):
            return False
    return _same_text(item, "origin_url", operation.origin_url)


def shows_all(item: Mapping[str, Any], operation: CreateResponse | CreateDecline) -> bool:
    """Return whether ``item`` shows every field that tells operations apart."""
    names = ["created_at", "origin_url"]
    if isinstance(operation, CreateResponse):
        names += ["score", "text"]
    return all(name in item for name in names)


def _same_text(item: Mapping[str, Any], name: str, wanted: str | None) -> bool:
    return name not in item or (item[name] or "") == (wanted or "")
