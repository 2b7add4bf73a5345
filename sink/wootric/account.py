"""The account at Wootric: where it lives, who we are, how much it takes."""

import re
from dataclasses import dataclass, field
from urllib.parse import quote

US_API_URL = "https://api.wootric.com"
PIXEL_URL = "https://d8myem934l1zi.cloudfront.net/pixel.gif"

_REGION = re.compile(r"NPS-(EU|AU)-")


def region_url(account_token: str) -> str:
    """Return scheme and host of the region that an account token names.

    Source: WootricSDK-Android, Utils.getTokenTDL; WootricSDK-iOS, WTRUtils.
    """
    match = _REGION.match(account_token)
    return f"https://app.wootric.{match[1].lower()}" if match else US_API_URL


@dataclass(frozen=True, slots=True, kw_only=True)
class WootricAccount:
    """Addresses, credentials and bounds.

    ``api_url`` is scheme and host, without ``/v1``; empty, the account token chooses the
    region. With a client id the grant is ``client_credentials``, else ``password``.
    ``requests_per_minute`` of 0 sets no pace: only the replies' headers count.
    ``in_flight_max`` bounds deliveries, ``concurrency_max`` requests under way (0: by the same).
    """

    account_token: str
    api_url: str = ""
    pixel_url: str = PIXEL_URL
    client_id: str | None = field(default=None, repr=False)
    client_secret: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    request_timeout_s: float = 10.0
    in_flight_max: int = 64
    concurrency_max: int = 0
    requests_per_minute: int = 0
    probe_interval_s: float = 15.0

    @property
    def resources_url(self) -> str:
        """Where the resources are: this, a slash and the resource's name.

        Regions serve them under ``/api`` of the host that also serves the token.
        """
        if self.api_url:
            return f"{self.api_url.rstrip('/')}/v1"
        host = region_url(self.account_token)
        return f"{host}/v1" if host == US_API_URL else f"{host}/api/v1"

    @property
    def token_url(self) -> str:
        """Where tokens are given."""
        return f"{(self.api_url or region_url(self.account_token)).rstrip('/')}/oauth/token"

    @property
    def token_request_url(self) -> str:
        """Where to ask for one: a login may have several accounts, and names the one meant."""
        if self.client_id:
            return self.token_url
        return f"{self.token_url}?account_token={quote(self.account_token, safe='')}"

    @property
    def credentials(self) -> dict[str, str]:
        """The fields of a request for a token, without a refresh token."""
        if self.client_id:
            fields = {"grant_type": "client_credentials", "client_id": self.client_id}
            return fields | ({"client_secret": self.client_secret} if self.client_secret else {})
        return {
            "grant_type": "password",
            "username": self.username or "",
            "password": self.password or "",
        }
