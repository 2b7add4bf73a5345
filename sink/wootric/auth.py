"""The Wootric account and its access token."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from multidict import CIMultiDict
from yarl import URL

from sink.classify import (
    Ambiguous,
    Classification,
    Executed,
    Forbidden,
    NotExecuted,
    RejectedByServer,
    Throttled,
    classify,
)
from sink.http_session import HttpSession
from sink.models import HttpResponse, Request
from sink.rate_limit import backoff_s, demanded_wait_s
from sink.wootric.endpoint import Dependencies
from sink.wootric.replies import document, oauth_error
from sink.wootric.requests import Requests

# The account: addresses, credentials, limits


US_API_URL = "https://api.wootric.com"

_REGION = re.compile(r"NPS-(EU|AU)-")


def region_url(account_token: str) -> str:
    """Return scheme and host of the region in an account token.

    Source: docs.wootric.com, environments (2023); the prefix also in WootricSDK-Android,
    Utils.getTokenTDL, and WootricSDK-iOS, WTRUtils.
    """
    match = _REGION.match(account_token)
    return f"https://api.wootric.{match[1].lower()}" if match else US_API_URL


@dataclass(frozen=True, slots=True, kw_only=True)
class WootricAccount:
    """Addresses, credentials and limits.

    ``api_url`` is scheme and host, without ``/v1``; if empty, the account token selects the
    region. The grant is ``client_credentials`` with a client id, otherwise ``password``.
    With ``requests_per_minute=0`` only the replies' headers limit the rate. ``in_flight_max``
    limits the deliveries in progress, and so the requests in flight.
    """

    account_token: str
    api_url: str = ""
    pixel_url: str
    client_id: str | None = field(default=None, repr=False)
    client_secret: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    request_timeout_s: float = 10.0
    in_flight_max: int = 64
    requests_per_minute: int = 0
    probe_interval_s: float = 15.0

    @property
    def resources_url(self) -> str:
        """Base URL of the resources, without a trailing slash."""
        return f"{self._host}/v1"

    @property
    def token_url(self) -> str:
        """URL of the OAuth token endpoint."""
        return f"{self._host}/oauth/token"

    @property
    def _host(self) -> str:
        return (self.api_url or region_url(self.account_token)).rstrip("/")

    @property
    def token_request_url(self) -> str:
        """URL of a token request. A login may have several accounts, so it names the account."""
        if self.client_id:
            return self.token_url
        return f"{self.token_url}?account_token={quote(self.account_token, safe='')}"

    def requests(self) -> Requests:
        """Return the builder of this account's requests."""
        return Requests(
            resources_url=self.resources_url,
            pixel_url=self.pixel_url,
            account_token=self.account_token,
        )

    @property
    def credentials(self) -> dict[str, str]:
        """Form fields of a token request, without a refresh token."""
        if self.client_id:
            fields = {"grant_type": "client_credentials", "client_id": self.client_id}
            return fields | ({"client_secret": self.client_secret} if self.client_secret else {})
        return {
            "grant_type": "password",
            "username": self.username or "",
            "password": self.password or "",
        }


USER_AGENT = "wootric-stream"
FORM = "application/x-www-form-urlencoded"
MARGIN_S = 60.0  # as in tap-wootric; enough for a request in flight to end with a valid token
LIFETIME_S = 7200.0
LIFETIME_S_MAX = 400 * 86_400.0
TOKEN_FORBIDDEN = frozenset({400, 401, 402, 403, 404, 405, 422})

_TOKEN = re.compile(r"[!-~]+")  # characters that a header can carry

BARE_HEADERS = CIMultiDict({"User-Agent": USER_AGENT, "Accept": "*/*"})


@dataclass(frozen=True, slots=True, eq=False)
class AccessToken:
    """A token as request headers; times are monotonic seconds."""

    read_headers: CIMultiDict[str] = field(repr=False)
    write_headers: CIMultiDict[str] = field(repr=False)
    refresh_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class TokenDenied:
    """The credentials are not accepted; ``error`` is one of a bounded set of words."""

    status: int
    error: str


@dataclass(frozen=True, slots=True)
class TokenUnavailable:
    """No token is available now; retry at ``retry_at`` (monotonic seconds)."""

    detail: str
    retry_at: float


TokenResult: TypeAlias = AccessToken | TokenDenied | TokenUnavailable


class TokenProvider:
    """Caches and renews the account's token. ``credentials`` returns the form fields of a token
    request; it is called for every request, since credentials may be replaced at runtime.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        account: WootricAccount,
        credentials: Callable[[], dict[str, str]] | None = None,
    ) -> None:
        self._account = account
        self._credentials = credentials or (lambda: account.credentials)
        self._http = dependencies.http
        self._clock = dependencies.clock
        self._wall_clock = dependencies.wall_clock
        self._random = dependencies.random
        self._hooks = dependencies.hooks
        self._token: AccessToken | None = None
        self._refresh_token: str | None = None
        self._renewal: asyncio.Task[TokenResult] | None = None
        self._failures = 0
        self._wait_until = 0.0

    def current(self) -> AccessToken | None:
        """Return the token if it is valid; start its renewal when it is about to expire."""
        token = self._token
        if token is None:
            return None
        now = self._clock()
        if now < token.refresh_at:
            return token
        if now >= token.expires_at:
            return None
        if now >= self._wait_until:
            self._renew()
        return token

    async def get(self) -> TokenResult:
        """Return a valid token, requesting one if needed, or why there is none."""
        token = self.current()
        if token is not None:
            return token
        if self._clock() < self._wait_until:
            return TokenUnavailable("token", self._wait_until)
        return await asyncio.shield(self._renew())

    def discard(self, token: AccessToken) -> None:
        """Drop a token that was refused, unless it has already been replaced."""
        if self._token is token:
            self._token = None

    async def fresh(self) -> TokenResult:
        """Request a token now, regardless of a cached token or an earlier failure."""
        return await asyncio.shield(self._renew())

    async def close(self) -> None:
        """Cancel a renewal in progress."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _renew(self) -> "asyncio.Task[TokenResult]":
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._request_token())
        return self._renewal

    async def _request_token(self) -> TokenResult:
        """Request with the refresh token if there is one, with the credentials if it is refused."""
        grant: TokenResult | None = None
        if self._refresh_token is not None:
            grant = await self._send(
                {"grant_type": "refresh_token", "refresh_token": self._refresh_token}
            )
            if isinstance(grant, TokenDenied):
                self._refresh_token = None
                grant = None
        if grant is None:
            grant = await self._send(self._credentials())
        if isinstance(grant, TokenDenied):
            self._hooks.token_refused(grant.error, grant.status)
        self._hooks.token_refreshed(isinstance(grant, AccessToken))
        if isinstance(grant, AccessToken):
            self._token = grant
            self._failures = 0
            self._wait_until = 0.0
        return grant

    async def _send(self, fields: dict[str, str]) -> TokenResult:
        """Send one token request. It has no effect at Wootric, so every failure is only a delay."""
        asked_at = self._clock()
        url = URL(self._account.token_request_url, encoded=True)
        request = Request("token", "POST", url, urlencode(fields).encode("ascii"))
        evidence = await self._http.send(request, _headers(**{"Content-Type": FORM}))
        verdict = classify(evidence, writes=False, forbidden=TOKEN_FORBIDDEN)
        self._hooks.request_finished(
            "token", verdict.label, verdict.status, self._clock() - asked_at
        )
        match verdict:
            case Executed(_, body):
                return self._read(document(body), asked_at) or self._later("unreadable token", None)
            case Forbidden(status) | RejectedByServer(status):
                body = evidence.body if isinstance(evidence, HttpResponse) else None
                return TokenDenied(status, oauth_error(status, body))
            case Throttled(_, headers):
                wait_s = demanded_wait_s(headers, unix_now=self._wall_clock())
                return self._later("token throttled", wait_s)
            case NotExecuted(detail) | Ambiguous(detail):
                return self._later(detail, None)
            case _:
                return self._later(verdict.label, None)

    def _read(self, value: Any, asked_at: float) -> AccessToken | None:
        token = value.get("access_token") if isinstance(value, dict) else None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            return None
        refresh_token = value.get("refresh_token")
        self._refresh_token = refresh_token if isinstance(refresh_token, str) else None
        # Measured on the local monotonic clock, so wall clocks do not matter.
        lifetime_s = _lifetime_s(value.get("expires_in"))
        margin_s = min(max(MARGIN_S, self._account.request_timeout_s), lifetime_s / 2)
        read = _headers(Authorization=f"Bearer {token}")
        return AccessToken(
            read_headers=read,
            write_headers=CIMultiDict({**read, "Content-Type": FORM}),
            refresh_at=asked_at + lifetime_s - margin_s,
            expires_at=asked_at + lifetime_s,
        )

    def _later(self, detail: str, wait_s: float | None) -> TokenUnavailable:
        self._failures += 1
        if wait_s is None:
            wait_s = backoff_s(self._failures, initial_s=0.2, max_s=5.0, jitter=self._random())
        self._wait_until = self._clock() + wait_s
        return TokenUnavailable(detail, self._wait_until)


def _lifetime_s(value: Any) -> float:
    """Return a token's lifetime in seconds; the documented one if the reply's is invalid."""
    try:
        lifetime_s = float(value)
    except (TypeError, ValueError):
        return LIFETIME_S
    return lifetime_s if 0 < lifetime_s < LIFETIME_S_MAX else LIFETIME_S


def _headers(**more: str) -> CIMultiDict[str]:
    return CIMultiDict({"User-Agent": USER_AGENT, "Accept": "application/json", **more})


# Check of the account without side effects: token, look-up, and the server's clock


@dataclass(frozen=True, slots=True)
class AccountCheck:
    """Result of the check. ``verdict`` is the look-up's, None without a token. ``skew_s`` is the
    number of seconds by which the server's clock is ahead; None if it is not known.
    """

    grant: TokenResult
    verdict: Classification | None = None
    skew_s: float | None = None


async def check_account(account: WootricAccount, session: HttpSession) -> AccountCheck:
    """Request a token and, with it, a page with one end user."""
    tokens = TokenProvider(Dependencies(http=session), account)
    grant = await tokens.fresh()
    if not isinstance(grant, AccessToken):
        return AccountCheck(grant)
    asked_at = time.time()
    probe = account.requests().probe()
    evidence = await session.send(probe, grant.read_headers)
    skew_s = (
        _skew_s(evidence, (asked_at + time.time()) / 2)
        if isinstance(evidence, HttpResponse)
        else None
    )
    return AccountCheck(grant, classify(evidence, writes=False, accepts=probe.accepts), skew_s)


def _skew_s(reply: HttpResponse, now: float) -> float | None:
    try:
        # The header has whole seconds: the expected time is half a second later.
        return parsedate_to_datetime(reply.headers["Date"]).timestamp() + 0.5 - now
    except (KeyError, ValueError):
        return None
