"""A look at the account without an effect: a token, a look-up, and the server's clock."""

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from random import Random

from sink.classify import Verdict, classify
from sink.http_session import HttpSession
from sink.models import Reply
from sink.wootric.auth import Bearer, Grant, TokenKeeper, WootricAccount
from sink.wootric.delivery import SinkHooks
from sink.wootric.endpoint import Context
from sink.wootric.requests import Requests


@dataclass(frozen=True, slots=True)
class Examination:
    """What Wootric said. ``verdict`` is of the look-up, None without a token. ``skew_s`` is by
    how much the server's clock is ahead of ours, in seconds; None if it does not say.
    """

    grant: Grant
    verdict: Verdict | None = None
    skew_s: float | None = None


async def examine(account: WootricAccount, session: HttpSession) -> Examination:
    """Ask for a token, and with it for one page of one end user."""
    context = Context(
        http=session,
        clock=time.monotonic,
        wall_clock=time.time,
        random=Random().random,  # noqa: S311  (jitter, not a secret)
        hooks=SinkHooks(),
    )
    keeper = TokenKeeper(context, account)
    grant = await keeper.fresh()
    if not isinstance(grant, Bearer):
        return Examination(grant)
    requests = Requests(
        resources_url=account.resources_url,
        pixel_url=account.pixel_url,
        account_token=account.account_token,
    )
    asked_at = time.time()
    evidence = await session.send(requests.probe(), grant.read_headers)
    skew_s = (
        _skew_s(evidence, (asked_at + time.time()) / 2) if isinstance(evidence, Reply) else None
    )
    return Examination(grant, classify(evidence, writes=False), skew_s)


def _skew_s(reply: Reply, now: float) -> float | None:
    try:
        # The header has whole seconds: its middle is half a second later.
        return parsedate_to_datetime(reply.headers["Date"]).timestamp() + 0.5 - now
    except (KeyError, ValueError):
        return None
