"""Wootric: does it take our credentials, and answer a harmless question?"""

import asyncio
from collections.abc import Iterator
from typing import assert_never

from sink.classify import Executed, Forbidden, Throttled, Unauthorized, Verdict
from sink.http_session import HttpSession
from sink.wootric.account import WootricAccount
from sink.wootric.auth import Bearer, Denied, Unavailable
from sink.wootric.check import Examination, examine
from stream.doctor.result import PERMISSION, UNAVAILABLE, Diagnosis, doubtful, failed, fine

SKEW_S_MAX = 5.0


def look_at_wootric(account: WootricAccount) -> Iterator[Diagnosis]:
    """Yield what is found: token, look-up, clock."""
    found = asyncio.run(_ask(account))
    match found.grant:
        case Bearer():
            yield fine("wootric token", "granted")
        case Denied(status):
            text = f"refused, status {status}"
            names = "WOOTRIC__CLIENT_ID and WOOTRIC__CLIENT_SECRET"
            if not account.client_id:
                names = "WOOTRIC__USERNAME, WOOTRIC__PASSWORD and WOOTRIC__ACCOUNT_TOKEN"
            mend = f"check {names}, and that WOOTRIC__API_URL is the account's region"
            yield failed("wootric token", text, mend, exit_code=PERMISSION)
        case Unavailable(detail, _):
            mend = "wait and try again; check WOOTRIC__API_URL"
            yield failed("wootric token", f"none to be had: {detail}", mend, exit_code=UNAVAILABLE)
        case _:
            assert_never(found.grant)
    if found.verdict is not None:
        yield _look_up(found.verdict)
    if found.skew_s is not None:
        yield _clock(found.skew_s)


async def _ask(account: WootricAccount) -> Examination:
    timeout_s = account.request_timeout_s
    async with HttpSession(in_flight_max=1, request_timeout_s=timeout_s) as session:
        return await examine(account, session)


def _look_up(verdict: Verdict) -> Diagnosis:
    check = "wootric look-up"
    match verdict:
        case Executed():
            return fine(check, "answered")
        case Throttled(status, _):
            mend = "set WOOTRIC__REQUESTS_PER_MINUTE below the account's limit"
            return doubtful(check, f"throttled, status {status}", mend)
        case Forbidden(status) | Unauthorized(status):
            mend = "ask Wootric whether this client may use the API for end users"
            return failed(check, f"forbidden, status {status}", mend, exit_code=PERMISSION)
        case _:
            text = f"{verdict.word}, status {verdict.status or 'none'}"
            mend = "wait and try again; check WOOTRIC__API_URL"
            return failed(check, text, mend, exit_code=UNAVAILABLE)


def _clock(skew_s: float) -> Diagnosis:
    text = f"Wootric's clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} ours"
    if abs(skew_s) > SKEW_S_MAX:
        mend = "let this machine's clock follow NTP: lag in seconds and waits are read from it"
        return doubtful("clock", text, mend)
    return fine("clock", f"within {SKEW_S_MAX:.0f} s of Wootric's")
