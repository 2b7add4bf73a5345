"""Build requests from operations: method, URL, form. Pure.

Source: docs.wootric.com (sources of 2018-10 and 2021-01), sections end users, responses
and declines. URLs are encoded in this module only.
"""

import hashlib
import re
from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import quote, urlencode

from msgspec.structs import replace
from yarl import URL

from sink.delivery import EndUser, Properties, Scalar
from sink.models import HttpResponse, Request
from sink.wootric import replies
from sink.wootric.operations import (
    NO_PROPERTIES,
    CreateDecline,
    CreateResponse,
    PageView,
    UpsertEndUser,
)

# The page pixel's URL.
#
# Source: segment-integrations/analytics.js-integration-wootric b0918e73, lib/index.js: the
# order of the parameters and their encoding.


def pixel_request_url(base: str, *, account_token: str | None, page: PageView) -> str:
    """Return the URL that reports ``page``; unknown values are omitted.

    An existing query in ``base`` is kept.
    """
    parameters = (
        ("account_token", account_token),
        ("email", page.email),
        ("created_at", page.created_at),
        ("url", page.url),
        ("random", page.random),
    )
    query = "&".join(
        f"{name}={_encode_component(str(value))}" for name, value in parameters if value is not None
    )
    return f"{base}{'&' if '?' in base else '?'}{query}"


_KEPT = "-_.!~*'()"
_ENCODED = re.compile(rf"[^A-Za-z0-9{re.escape(_KEPT)}]")


def _encode_component(text: str) -> str:
    """Encode as JavaScript's encodeURIComponent does; a lone surrogate becomes ``?``."""
    if text.isascii():  # at a half of the cost of quote(), which encodes byte by byte
        return _ENCODED.sub(_percent, text)
    return quote(text, safe=_KEPT, errors="replace")


def _percent(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"


# The difference between the known and the wanted end user


Form: TypeAlias = list[tuple[str, str]]

INTEGER_SUFFIXES = ("_date", "_amount")
"""Properties with these endings hold integers; any other value refuses the whole write."""
_INTEGER = re.compile(r"[+-]?[0-9]+")

HEAD = ("email", "external_id", "phone_number", "external_created_at")


def form_text(value: Scalar) -> str:
    """Return a form value; an integral float is written without a dot, as in JavaScript."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def diff(known: EndUser, wanted: UpsertEndUser) -> Form:
    """Return the fields that change ``known`` to ``wanted``; empty if nothing would change.

    If one property differs, all are sent, with new values over old ones. Whether a PUT merges or
    replaces properties is not documented, and this is correct in both cases.
    """
    form = [
        (name, form_text(value))
        for name in HEAD
        if (value := getattr(wanted, name)) is not None and value != getattr(known, name)
    ]
    held = known.properties or NO_PROPERTIES
    if _differs(held, wanted.properties):
        sendable = {name: value for name, value in held.items() if _is_accepted(name, value)}
        form += property_fields({**sendable, **wanted.properties})
    return form


def create_form(wanted: UpsertEndUser) -> Form:
    """Return the fields of a new end user."""
    form = [
        (name, form_text(value)) for name in HEAD if (value := getattr(wanted, name)) is not None
    ]
    return form + property_fields(wanted.properties)


def merge(known: EndUser, wanted: UpsertEndUser) -> EndUser:
    """Return the end user's state after ``wanted`` was applied to ``known``."""
    head = {name: value for name in HEAD if (value := getattr(wanted, name)) is not None}
    return replace(known, **head, properties=merged_properties(known, wanted.properties))


def merged_properties(known: EndUser, wanted: Properties) -> Properties:
    """Return all properties, new values over old ones."""
    held = known.properties or NO_PROPERTIES
    return {**held, **wanted} if wanted else held


def property_fields(properties: Properties) -> Form:
    """Return properties as form fields in Rails' bracket notation (``properties[plan]``)."""
    return [(f"properties[{key}]", form_text(value)) for key, value in properties.items()]


def _is_accepted(name: str, value: Scalar) -> bool:
    """Return whether Wootric accepts a value that it holds: of older clients it may not be."""
    return not name.endswith(INTEGER_SUFFIXES) or _INTEGER.fullmatch(form_text(value)) is not None


def _differs(held: Properties, wanted: Properties) -> bool:
    """Compare as text: forms have only text, and replies may convert it to other types."""
    return any(
        key not in held or form_text(held[key]) != form_text(value) for key, value in wanted.items()
    )


LIST_PAGE_SIZE = 50  # the documented maximum
PAGES_MAX = 30
"""Later pages are refused (tap-wootric a498cfc, 2017) or empty (seen in 2026)."""


class Requests:
    """Builds the requests of one account."""

    __slots__ = ("_account_token", "_end_users", "_pixel_url")

    def __init__(self, *, resources_url: str, pixel_url: str, account_token: str) -> None:
        self._end_users = f"{resources_url}/end_users"
        self._pixel_url = pixel_url
        self._account_token = account_token

    def find_by_id(self, end_user_id: int) -> Request:
        """Find an end user by Wootric's id."""
        return _find(f"{self._end_users}/{end_user_id}")

    def find_by_external_id(self, external_id: str) -> Request:
        """Find an end user by the id that the customer assigned."""
        return _find(f"{self._end_users}/{_segment(external_id)}?lookup_by_external_id=true")

    def find_by_email(self, email: str) -> Request:
        """Ask for an end user by e-mail."""
        return _find(f"{self._end_users}/{_segment(email)}?lookup_by_email=true")

    def list_by_email(self, email: str) -> Request:
        """Ask for the list of end users with this e-mail: none or one."""
        url = _url(f"{self._end_users}?email={quote(email, safe='')}")
        return Request("list_end_users", "GET", url, accepts=replies.is_list)

    def find_by_phone_number(self, phone_number: str) -> Request:
        """Find an end user by a phone number that begins with a plus."""
        return _find(f"{self._end_users}/phone_number/{quote(phone_number, safe='+')}")

    def create_end_user(self, form: Form) -> Request:
        """Create an end user."""
        accepts = replies.is_end_user
        return _write("create_end_user", "POST", self._end_users, form, accepts)

    def update_end_user(self, end_user_id: int, form: Form) -> Request:
        """Update an end user's fields."""
        url = f"{self._end_users}/{end_user_id}"
        return _write("update_end_user", "PUT", url, form, replies.is_end_user)

    def delete_end_user(self, end_user_id: int) -> Request:
        """Delete an end user."""
        url = _url(f"{self._end_users}/{end_user_id}")
        accepts = replies.is_accepted
        return Request("delete_end_user", "DELETE", url, None, writes=True, accepts=accepts)

    def create_survey(
        self, end_user_id: int, operation: CreateResponse | CreateDecline, *, request_id: str
    ) -> Request:
        """Record a response or a decline.

        ``survey[unique_link]`` is the same on every attempt: Wootric's SDKs have sent one since
        2016 so that a repetition is no second survey (WootricSDK-iOS 9f2e970).
        """
        form = [*survey_form(operation), ("survey[unique_link]", unique_link(request_id))]
        url = f"{self._end_users}/{end_user_id}/{_resource(operation)}"
        return _write(operation.type, "POST", url, form, replies.is_accepted)

    def list_surveys(
        self, end_user_id: int, operation: CreateResponse | CreateDecline, *, page: int
    ) -> Request:
        """List one page of an end user's responses or declines, oldest first."""
        resource = _resource(operation)
        query = f"page={page}&per_page={LIST_PAGE_SIZE}&sort_order=asc"
        url = _url(f"{self._end_users}/{end_user_id}/{resource}?{query}")
        return Request(f"list_{resource}", "GET", url, accepts=replies.is_list)

    def find_survey(
        self, end_user_id: int, operation: CreateResponse | CreateDecline, survey_id: int
    ) -> Request:
        """Fetch one response or decline, which has more fields than the list."""
        resource = _resource(operation)
        url = _url(f"{self._end_users}/{end_user_id}/{resource}/{survey_id}")
        return Request(f"find_{resource}", "GET", url, accepts=replies.is_lookup)

    def view_page(self, page: PageView) -> Request:
        """Load the pixel."""
        url = pixel_request_url(self._pixel_url, account_token=self._account_token, page=page)
        accepts = replies.is_pixel
        return Request("page_view", "GET", _url(url), None, writes=True, accepts=accepts)

    def probe(self) -> Request:
        """Send a harmless request that needs a valid token."""
        url = _url(f"{self._end_users}?page=1&per_page=1")
        return Request("probe", "GET", url, accepts=replies.is_list)


def unique_link(request_id: str) -> str:
    """Return 128 bits, in hexadecimal, that stand for a request."""
    return hashlib.blake2b(request_id.encode(), digest_size=16).hexdigest()


def survey_form(operation: CreateResponse | CreateDecline) -> Form:
    """Return the fields of a response or decline that are set."""
    names = ["ip_address", "origin_url", "created_at"]
    if isinstance(operation, CreateResponse):
        names = ["score", "text", *names]
    return [
        (name, form_text(value))
        for name in names
        if (value := getattr(operation, name)) is not None
    ]


def _resource(operation: CreateResponse | CreateDecline) -> str:
    return "responses" if isinstance(operation, CreateResponse) else "declines"


def _find(url: str) -> Request:
    return Request("find_end_user", "GET", _url(url), accepts=replies.is_lookup)


def _write(
    name: str, method: str, url: str, form: Form, accepts: Callable[[HttpResponse], bool]
) -> Request:
    body = urlencode(form).encode("ascii")
    return Request(name, method, _url(url), body, writes=True, accepts=accepts)


def _segment(value: str) -> str:
    """Encode a path segment; one of dots only would be resolved as a folder."""
    return value.replace(".", "%2E") if value.strip(".") == "" else quote(value, safe="")


def _url(text: str) -> URL:
    return URL(text, encoded=True)
