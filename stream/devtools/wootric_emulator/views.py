"""Wootric's objects as its replies show them.

Source: docs.wootric.com, objects of end users, responses and declines (sources of 2018-10
and 2021-01): times are text in the account's zone, ``external_created_at`` alone is a number.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, TypeAlias

from stream.devtools.wootric_emulator.state import Decline, EndUser, Response

Json: TypeAlias = dict[str, Any]

ACCOUNT_ID = 1
SURVEY_ID = 1
ZONE = timezone(timedelta(hours=-8))
"""Wootric's examples show Pacific time; a client must read the offset, not assume UTC."""

RECORD_NOT_FOUND: Json = {
    "type": "error_list",
    "errors": [
        {
            "status": "record_not_found",
            "message": "The record could not be found",
            "field": None,
        }
    ],
}

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def time_text(at: int | None) -> str | None:
    """Return Unix seconds as Wootric writes them: ``2018-01-02 23:03:41 -0800``."""
    if at is None:
        return None
    return f"{(EPOCH + timedelta(seconds=at)).astimezone(ZONE):%Y-%m-%d %H:%M:%S %z}"


def end_user(user: EndUser, responses: Sequence[Response]) -> Json:
    """Return an end user, and of the responses given so far the last."""
    return {
        "id": user.id,
        "created_at": time_text(user.created_at),
        "updated_at": time_text(user.updated_at),
        "email": user.email,
        "last_surveyed": time_text(user.last_surveyed),
        "external_created_at": user.external_created_at,
        "last_seen_at": None,
        "properties": user.properties,
        "phone_number": user.phone_number,
        "external_id": user.external_id,
        "last_response": _last_response(responses[-1]) if responses else None,
        "settings": _settings(),
    }


def response(answer: Response) -> Json:
    """Return an answered survey."""
    return {
        "id": answer.id,
        "created_at": time_text(answer.created_at),
        "updated_at": time_text(answer.updated_at),
        "score": answer.score,
        "text": answer.text,
        "ip_address": answer.ip_address,
        "origin_url": answer.origin_url,
        "end_user_id": answer.end_user_id,
        "user_id": ACCOUNT_ID,
        "survey_id": SURVEY_ID,
    }


def decline(refusal: Decline) -> Json:
    """Return a declined survey as lists show it: without address and origin."""
    return {
        "id": refusal.id,
        "end_user_id": refusal.end_user_id,
        "created_at": time_text(refusal.created_at),
        "updated_at": time_text(refusal.updated_at),
        "user_id": ACCOUNT_ID,
        "survey_id": SURVEY_ID,
    }


def single_decline(refusal: Decline) -> Json:
    """Return a declined survey as it is shown when asked for by its id."""
    origin = {"ip_address": refusal.ip_address, "origin_url": refusal.origin_url}
    return {**decline(refusal), **origin}


def _last_response(last: Response) -> Json:
    return {"id": last.id, "score": last.score, "text": last.text, "survey": {"channel": "web"}}


def _settings() -> Json:
    return {
        "email_nps": True,
        "mobile_nps": True,
        "web_nps": True,
        "force_web_survey": None,
        "force_mobile_survey": None,
    }
