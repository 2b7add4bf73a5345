"""Wootric's objects as its replies show them.

Source: docs.wootric.com, objects of end users, responses and declines (sources of 2016-12,
2018-10 and 2021-01), and recorded replies of 2022: times are text in Pacific time with its
summer time, ``external_created_at`` alone is a number.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeAlias

from stream.devtools.wootric_emulator.state import Decline, EndUser, Response

Json: TypeAlias = dict[str, Any]

SURVEY_ID = 1

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
    """Return Unix seconds in Wootric's format: ``2018-01-02 23:03:41 -0800``."""
    if at is None:
        return None
    moment = EPOCH + timedelta(seconds=at)
    hours = -7 if _is_summer(moment) else -8
    return f"{moment + timedelta(hours=hours):%Y-%m-%d %H:%M:%S} {hours:+03d}00"


def _is_summer(moment: datetime) -> bool:
    """Return whether Pacific time is one hour ahead at a moment."""
    march, november = (datetime(moment.year, month, 1, tzinfo=UTC) for month in (3, 11))
    start = march + timedelta(days=(6 - march.weekday()) % 7 + 7, hours=10)
    end = november + timedelta(days=(6 - november.weekday()) % 7, hours=9)
    return start <= moment < end


def written_end_user(user: EndUser) -> Json:
    """Return an end user as the documents of 2015 show the reply to a create or change."""
    return {
        "id": user.id,
        "email": user.email,
        "last_surveyed": _iso(user.last_surveyed),
        "created_at": _iso(user.created_at),
        "updated_at": _iso(user.updated_at),
        "external_created_at": user.external_created_at,
        "user_id": 1,
        "properties": ", ".join(f"{name!r}=>{value!r}" for name, value in user.properties.items()),
    }


def _iso(at: int | None) -> str | None:
    shown = time_text(at)
    if shown is None:
        return None
    day, hour, offset = shown.split(" ")
    return f"{day}T{hour}.000{offset[:3]}:{offset[3:]}"


def end_user(user: EndUser, responses: Sequence[Response]) -> Json:
    """Return an end user with the last response."""
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


def response(answer: Response, user: EndUser | None) -> Json:
    """Return an answered survey; of its end user e-mail and properties, while they are known."""
    return {
        "id": answer.id,
        "created_at": time_text(answer.created_at),
        "updated_at": time_text(answer.updated_at),
        "score": answer.score,
        "text": answer.text,
        "ip_address": answer.ip_address,
        "origin_url": answer.origin_url,
        "end_user_id": answer.end_user_id,
        "survey_id": SURVEY_ID,
        "completed": True,
        "excluded_from_calculations": False,
        "tags": [],
        "notes": [],
        "end_user": _person(user),
    }


def decline(refusal: Decline, user: EndUser | None) -> Json:
    """Return a declined survey; of its end user e-mail and properties, while they are known."""
    return {
        "id": refusal.id,
        "end_user_id": refusal.end_user_id,
        "created_at": time_text(refusal.created_at),
        "updated_at": time_text(refusal.updated_at),
        "ip_address": refusal.ip_address,
        "origin_url": refusal.origin_url,
        "survey_id": SURVEY_ID,
        "end_user": _person(user),
    }


def _person(user: EndUser | None) -> Json | None:
    return None if user is None else {"email": user.email, "properties": user.properties}


def _last_response(last: Response) -> Json:
    return {"id": last.id, "score": last.score, "text": last.text, "survey": {"channel": "web"}}


def _settings() -> Json:
    return {
        "email_nps": True,
        "mobile_nps": True,
        "web_nps": True,
        "force_web_survey": None,
        "force_mobile_survey": None,
        "surveys_disabled_by_end_user": None,
    }
