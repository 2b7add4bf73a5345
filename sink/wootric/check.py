"""Check of the account without side effects: token, look-up, and the server's clock."""

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from random import Random

from sink.classify import Classification, classify
from sink.http_session import HttpSession
from sink.models import HttpResponse
from sink.wootric.auth import AccessToken, TokenProvider, TokenResult, WootricAccount
from sink.wootric.delivery import SinkListener
from sink.wootric.endpoint import Dependencies
from sink.wootric.requests import Requests


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
    dependencies = Dependencies(
        http=session,
        clock=time.monotonic,
        wall_clock=time.time,
        random=Random().random,  # noqa: S311  (jitter, not a secret)
        hooks=SinkListener(),
    )
    tokens = TokenProvider(dependencies, account)
    grant = await tokens.fresh()
    if not isinstance(grant, AccessToken):
        return AccountCheck(grant)
    requests = Requests(
        resources_url=account.resources_url,
        pixel_url=account.pixel_url,
        account_token=account.account_token,
    )
    asked_at = time.time()
    probe = requests.probe()
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
