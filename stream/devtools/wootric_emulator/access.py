"""Access to the API: tokens, issued for credentials and revocable, and the rate limit.

Source: docs.wootric.com, authentication; error bodies are not documented there,
so they are those of RFC 6749, section 5.2.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stream.devtools.wootric_emulator.behaviour import Behaviour

SCOPE = "delete_account admin respond export read survey invalidate_response"


class OAuthError(Exception):
    """The credentials are not accepted: RFC 6749's error code, and the HTTP status."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


class Tokens:
    """The issued tokens; ``clock`` returns Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._expiry: dict[str, float] = {}
        self._refresh: set[str] = set()

    def grant(self, parameters: Mapping[str, Any], behaviour: Behaviour) -> dict[str, Any]:
        """Return a new token's reply.

        Raises:
            OAuthError: the grant is unknown, or its credentials are not accepted.
        """
        _require(behaviour.account_token, parameters.get("account_token"), optional=True)
        match parameters.get("grant_type"):
            case "client_credentials":
                _require(behaviour.client_id, parameters.get("client_id"))
                # The mobile SDKs send no secret and are accepted.
                _require(
                    behaviour.client_secret,
                    parameters.get("client_secret"),
                    optional=behaviour.client_secret is None,
                )
                return self._issue(behaviour.expires_in_s, refreshable=False)
            case "password":
                _require(behaviour.username, parameters.get("username"), code="invalid_grant")
                _require(behaviour.password, parameters.get("password"), code="invalid_grant")
                return self._issue(behaviour.expires_in_s, refreshable=True)
            case "refresh_token":
                self._spend(parameters.get("refresh_token"))
                return self._issue(behaviour.expires_in_s, refreshable=True)
            case _:
                raise OAuthError("unsupported_grant_type", 400)

    def accepts(self, authorization: str | None) -> bool:
        """Return whether an ``Authorization`` header has a valid token."""
        if authorization is None:
            return False
        scheme, _, token = authorization.partition(" ")
        expiry = self._expiry.get(token)
        return scheme.lower() == "bearer" and expiry is not None and self._clock() < expiry

    def revoke_all(self) -> None:
        """Revoke every access token; refresh tokens stay valid."""
        self._expiry.clear()

    def _spend(self, refresh_token: object) -> None:
        if refresh_token not in self._refresh:
            raise OAuthError("invalid_grant", 400)
        self._refresh.discard(str(refresh_token))

    def _issue(self, expires_in_s: float, *, refreshable: bool) -> dict[str, Any]:
        token = secrets.token_hex(32)
        now = self._clock()
        self._expiry[token] = now + expires_in_s
        reply: dict[str, Any] = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": int(expires_in_s) if expires_in_s >= 1 else expires_in_s,
            "scope": SCOPE,
            "created_at": int(now),
        }
        if refreshable:
            reply["refresh_token"] = secrets.token_hex(32)
            self._refresh.add(reply["refresh_token"])
        return reply


def _require(
    accepted: str | None, given: object, *, optional: bool = False, code: str = "invalid_client"
) -> None:
    if given is None and optional:
        return
    if not given or (accepted is not None and given != accepted):
        raise OAuthError(code, 400 if code == "invalid_grant" else 401)


# The rate limit: a number of requests in each minute of the clock, stated in headers.
#
# Source: docs.wootric.com, rate limits (added 2018-09-26): three ``X-Rate-Limit`` headers, the
# reset in Unix seconds, no ``Retry-After``; a reply without them is not limited.


WINDOW_S = 60


@dataclass(frozen=True, slots=True)
class AccountQuota:
    """Whether a request is allowed, and the rate-limit headers of its reply."""

    allowed: bool
    headers: dict[str, str]


class RateLimit:
    """Counts the account's requests in the current minute; ``clock`` returns Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._window = 0
        self._used = 0

    def take(self, per_minute: int) -> AccountQuota:
        """Count one request against ``per_minute``."""
        window = int(self._clock()) // WINDOW_S
        if window != self._window:
            self._window, self._used = window, 0
        allowed = self._used < per_minute
        if allowed:
            self._used += 1
        headers = {
            "X-Rate-Limit-Limit": str(per_minute),
            "X-Rate-Limit-Remaining": str(max(0, per_minute - self._used)),
            "X-Rate-Limit-Reset": str((window + 1) * WINDOW_S),
        }
        return AccountQuota(allowed, headers)
