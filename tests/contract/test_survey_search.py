"""The id of a delivered survey, found at Wootric by its fields."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from readings import LIKELY, READINGS, reading_name
from sink_world import AT, DECLINE, QUIET_S, RESPONSE, World, world
from waiting import STILL_S

from sink.delivery import Delivered, EndUser
from sink.wootric.auth import WootricAccount
from sink.wootric.client import DeliveryFailedError
from sink.wootric.surveys import Survey
from stream.devtools.wootric_emulator import Answer, Emulator
from stream.operations import trace
from stream.operations.trace import SurveySearch

NOTHING: frozenset[int] = frozenset()
SURVEYS = pytest.mark.parametrize("survey", [RESPONSE, DECLINE], ids=["response", "decline"])


@pytest.fixture(params=READINGS, ids=reading_name)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with world(request.param) as one:
        yield one


async def record(here: World, survey: Survey, request_id: str) -> tuple[EndUser | None, int]:
    """Deliver a survey; return its end user and its id, once the queue is done with it."""
    outcome = await here.deliver(survey, request_id=request_id)
    assert isinstance(outcome, Delivered)
    await asyncio.sleep(QUIET_S)
    return outcome.end_user, here.wootric.state.effects[-1].id


@SURVEYS
async def test_a_survey_is_found_by_its_fields(here: World, survey: Survey) -> None:
    """Whether its end user is known or has to be looked up; nothing is written."""
    await record(here, replace(survey, created_at=AT - 1), "other")
    user, wanted = await record(here, survey, "this one")
    before = len(here.requests())
    for known, lookups in ((user, 0), (None, 1)):
        assert await here.sink.find_surveys(survey, known=known, claimed=NOTHING) == [wanted]
        asked, before = here.requests()[before:], len(here.requests())
        assert {method for method, _ in asked} == {"GET"}
        assert sum("external_id" in path or path.endswith("/ada") for _, path in asked) == lookups


@SURVEYS
async def test_of_surveys_just_alike_all_are_named_that_no_receipt_has(
    here: World, survey: Survey
) -> None:
    _, first = await record(here, survey, "first")
    user, second = await record(here, survey, "second")
    assert first != second
    found = await here.sink.find_surveys(survey, known=user, claimed=NOTHING)
    assert sorted(found) == sorted([first, second])
    assert await here.sink.find_surveys(survey, known=user, claimed={first}) == [second]


@SURVEYS
async def test_there_may_be_none(here: World, survey: Survey) -> None:
    assert await here.sink.find_surveys(survey, known=None, claimed=NOTHING) == []
    gone = EndUser(id=999)
    assert await here.sink.find_surveys(survey, known=gone, claimed=NOTHING) == []
    known = here.hold()
    assert await here.sink.find_surveys(survey, known=known, claimed=NOTHING) == []
    assert here.effects() == []


async def test_a_list_that_is_refused_is_not_taken_for_an_empty_one() -> None:
    async with world() as here:
        known = here.hold()
        here.wootric.on("GET", "/v1/end_users/{id}/responses", Answer(status=422))
        with pytest.raises(DeliveryFailedError):
            await here.sink.find_surveys(RESPONSE, known=known, claimed=NOTHING)


# As the command asks


def account(wootric: Emulator, **settings: Any) -> WootricAccount:
    return WootricAccount(
        **{
            "account_token": "NPS-4aeb53c1",
            "api_url": wootric.url,
            "pixel_url": wootric.pixel_url,
            "client_id": "id",
            "client_secret": "secret",
            **settings,
        }
    )


SEARCHES = {(0, "m1"): SurveySearch(survey=RESPONSE, known=None, claimed=NOTHING)}


async def test_the_command_asks_with_an_account_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "ASK_S_MAX", STILL_S)
    async with world() as here:
        _, wanted = await record(here, RESPONSE, "r")
        matches: dict[Any, Any] = {}
        assert await trace._ask_wootric(account(here.wootric), SEARCHES, matches) is None
        assert matches == {(0, "m1"): [wanted]}


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [
        ("/oauth/token", Answer(status=401), "the token request was refused, status 401"),
        ("/oauth/token", Answer(status=503), "no token is available"),
        ("/v1/*", Answer(status=403), "forbidden"),
        ("/v1/*", Answer(status=422), "lookup_"),
        ("/v1/*", Answer(status=200, body="[]", delay_s=STILL_S), "no reply within 0.5 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_wootric_that_cannot_be_asked_is_one_line(
    monkeypatch: pytest.MonkeyPatch, path: str, answer: Answer, words: str
) -> None:
    slow = answer.delay_s > 0
    monkeypatch.setattr(trace, "ASK_S_MAX", 0.5 if slow else STILL_S)
    async with Emulator(LIKELY) as wootric:
        wootric.on("*", path, answer, always=True)
        matches: dict[Any, Any] = {}
        why = await trace._ask_wootric(account(wootric), SEARCHES, matches)
        assert why is not None
        assert why.startswith(words)
        assert "\n" not in why
        assert matches == {}


async def test_a_host_that_does_not_listen_is_one_line() -> None:
    async with Emulator(LIKELY) as wootric:
        nowhere = account(wootric, api_url="http://127.0.0.1:1")
        why = await trace._ask_wootric(nowhere, SEARCHES, {})
        assert why is not None
        assert why.startswith("no token is available, ")
