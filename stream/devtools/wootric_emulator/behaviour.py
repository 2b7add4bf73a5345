"""Behaviour of the emulator where Wootric's documentation is ambiguous.

Nobody outside Wootric knows which reading is right, so a client has to be right under each of
them: every open question is a switch, and a test sets it both ways. The default is the reading
that public evidence makes likely; docs/explanation/compatibility-with-wootric.md names it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """The readings in effect, the accepted credentials, and the rate limit.

    A credential of None accepts any non-empty value. ``rate_limit_per_minute`` of None means no
    limit. Times are in seconds.
    """

    survey_reply: Literal["empty", "record"] = "empty"
    """Whether a response or decline is queued and answered without a body, or recorded at once
    and shown in the reply."""
    survey_delay_s: float = 2.0
    """How long a queued response or decline takes to be listed and to change properties."""
    unique_link: Literal["ignore", "merge"] = "ignore"
    """Whether a second survey of an end user with the same ``survey[unique_link]`` is dropped.
    The SDKs rely on it; the guarantee must hold without it."""
    list_shows: Literal["surveyed", "all"] = "surveyed"
    """Whether ``GET /v1/end_users`` lists end users who never had a survey."""
    typed_properties: Literal["refuse", "keep"] = "refuse"
    """What becomes of a value under ``_amount`` or ``_date`` that is no whole number: the write
    is refused, or the value is kept as text."""
    delete_delay_s: float = 86_400.0
    """How long a deleted end user can still be found and changed."""
    page_beyond: Literal["empty", "400"] = "empty"
    """How a page after the last that can be asked for is answered."""
    write_reply: Literal["full", "2015"] = "full"
    """Whether the reply to a create or change of an end user has the form of look-ups, or the
    documents' form of 2015: ISO times, properties as one text, no external id."""
    put_properties: Literal["replace", "merge"] = "replace"
    """What becomes of properties that a PUT does not name."""
    response_properties: Literal["replace", "merge"] = "replace"
    """The same for ``end_user[properties]`` sent with a response or a decline."""
    duplicate_external_id: Literal["allow", "refuse"] = "allow"
    """Whether two end users may have the same external id."""
    duplicate_phone_number: Literal["refuse", "allow"] = "refuse"
    """Whether two end users may have the same phone number."""
    external_id_suffices: bool = True
    """Whether an end user may be created with neither e-mail nor phone number."""
    email_taken_status: Literal[400, 409, 422] = 400
    """Status of the reply to an e-mail, phone number or external id that is taken."""
    lookup_absent: Literal["404", "list", "null", "error_list"] = "404"
    """Reply to a look-up that finds nobody: 404 with an error list, or 200 with ``[]``, ``null`` or
    the same error list."""
    expires_in_s: float = 7200.0
    """Lifetime of an access token."""
    rate_limit_per_minute: int | None = None
    """Requests of the account that are answered in each minute of the clock."""
    reply_delay_s: float = 0.0
    """How long each reply takes."""
    client_id: str | None = None
    """Client id of the grant for client credentials."""
    client_secret: str | None = None
    """Client secret of that grant."""
    username: str | None = None
    """User name of the password grant."""
    password: str | None = None
    """Password of that grant."""
    account_token: str | None = None
    """Account token that a token request must name, if it names one."""

    @property
    def unique_fields(self) -> tuple[str, ...]:
        """The unique fields of end users."""
        unique = ["email"]
        if self.duplicate_external_id == "refuse":
            unique.append("external_id")
        if self.duplicate_phone_number == "refuse":
            unique.append("phone_number")
        return tuple(unique)

    def changed(self, changes: Mapping[str, Any]) -> "Behaviour":
        """Return this behaviour with some switches changed.

        Raises:
            ValueError: a switch does not exist, or has no such position.
        """
        unknown = changes.keys() - {switch.name for switch in fields(self)}
        if unknown:
            raise ValueError(f"no such behaviour: {', '.join(sorted(unknown))}")
        for name, hint in get_type_hints(Behaviour).items():
            if get_origin(hint) is Literal and changes.get(name, get_args(hint)[0]) not in get_args(
                hint
            ):
                raise ValueError(f"{name} is one of {get_args(hint)}")
        return replace(self, **changes)
