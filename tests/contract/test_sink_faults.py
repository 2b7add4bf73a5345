"""Every operation and everything that can happen to its request: one effect, never two."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from readings import FEW_READINGS, reading_name
from sink_world import AT, DECLINE, DELETE, PAGE, RESPONSE, UPSERT, WRITES, World, claimed_by, world
from waiting import stretched, until

from sink.delivery import (
    Deferred,
    Delivered,
    EndUser,
    InDoubt,
    Operation,
    Parked,
    Rejected,
    Skipped,
)
from sink.models import SendResult
from sink.wootric import client
from sink.wootric.endpoint import Endpoint
from sink.wootric.operations import CreateDecline, CreateResponse, UpsertEndUser
from stream.devtools.wootric_emulator import Answer, Behaviour, Delay, Drop, LateEffect, Truncate

CASES: dict[str, tuple[Operation, bool]] = {
    "create_end_user": (UPSERT, False),
    "update_end_user": (UPSERT, True),
    "delete_end_user": (DELETE, True),
    "create_response": (replace(RESPONSE, properties={}), True),
    "create_decline": (replace(DECLINE, properties={}), True),
    "page_view": (PAGE, True),
}
"""The effect, the operation that makes it, and whether the end user is known before."""

OBSERVABLE = [kind for kind in CASES if kind != "page_view"]


@pytest.fixture(params=FEW_READINGS, ids=reading_name)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with world(request.param) as one:
        yield one


def known_for(here: World, kind: str) -> EndUser | None:
    return here.hold(properties={"city": "Kyiv"}) if CASES[kind][1] else None


async def settle(here: World, kind: str, known: EndUser | None) -> None:
    """Resolve a doubt as the flow does, and see that the effect is there once."""
    outcome = await here.deliver(CASES[kind][0], known=known, in_doubt=True)
    assert isinstance(outcome, Delivered)
    assert here.effects() == [kind]
    if kind in {"create_end_user", "update_end_user"}:
        assert here.user().properties.items() >= dict(UPSERT.properties).items()


@pytest.mark.parametrize("effect", [True, False], ids=["lost_reply", "lost_request"])
@pytest.mark.parametrize("kind", CASES)
async def test_a_reset_is_in_doubt_and_not_repeated(
    here: World, kind: str, *, effect: bool
) -> None:
    known = known_for(here, kind)
    here.wootric.on(*WRITES[kind], Drop(effect=effect))
    outcome = await here.deliver(CASES[kind][0], known=known)
    assert isinstance(outcome, InDoubt)
    assert outcome.attempts == 1
    assert here.effects() == ([kind] if effect else [])
    if kind in OBSERVABLE:
        await settle(here, kind, known)


@pytest.mark.parametrize("kind", CASES)
async def test_an_effect_that_comes_late_is_found(here: World, kind: str) -> None:
    known = known_for(here, kind)
    here.wootric.on(*WRITES[kind], LateEffect(after_s=0.02))
    outcome = await here.deliver(CASES[kind][0], known=known)
    assert isinstance(outcome, InDoubt)
    await until(here.effects, "the effect comes")
    if kind in OBSERVABLE:
        await settle(here, kind, known)


@pytest.mark.parametrize("status", [408, 499, 500, 502, 503, 504])
@pytest.mark.parametrize("effect", [True, False])
@pytest.mark.parametrize("kind", CASES)
async def test_a_server_that_failed_may_have_done_it(
    kind: str, status: int, *, effect: bool
) -> None:
    async with world() as here:
        known = known_for(here, kind)
        here.wootric.on(*WRITES[kind], Answer(status=status, effect=effect))
        assert isinstance(await here.deliver(CASES[kind][0], known=known), InDoubt)
        if kind in OBSERVABLE:
            await settle(here, kind, known)


@pytest.mark.parametrize("kind", CASES)
async def test_a_timeout_is_in_doubt(kind: str) -> None:
    async with world(request_timeout_s=float(stretched(1))) as here:
        known = known_for(here, kind)
        here.wootric.on(*WRITES[kind], Delay(after_s=3600))
        assert isinstance(await here.deliver(CASES[kind][0], known=known), InDoubt)
        if kind in OBSERVABLE:
            await settle(here, kind, known)


@pytest.mark.parametrize("kind", CASES)
async def test_a_reply_that_breaks_off_is_an_effect_all_the_same(here: World, kind: str) -> None:
    known = known_for(here, kind)
    here.wootric.on(*WRITES[kind], Truncate(keep_bytes=5))
    outcome = await here.deliver(CASES[kind][0], known=known)
    assert isinstance(outcome, Delivered)
    assert here.effects() == [kind]
    assert outcome.remote_id is None
    if kind == "create_end_user":
        assert outcome.end_user is None, "its id could not be read"


@pytest.mark.parametrize("survey", [RESPONSE, DECLINE])
async def test_two_surveys_just_alike_are_two_effects_though_both_replies_break(
    here: World, survey: CreateResponse | CreateDecline
) -> None:
    """The first one's receipt claims its fields, so that the second one is not taken for it."""
    known = here.hold()
    here.wootric.on(*WRITES[survey.type], Truncate(keep_bytes=5))
    here.wootric.on(*WRITES[survey.type], Drop(effect=False))
    first = await here.deliver(survey, known=known, request_id="first")
    assert isinstance(first, Delivered)
    assert isinstance(await here.deliver(survey, known=known), InDoubt)
    claimed = frozenset({claimed_by(first)})
    second = await here.deliver(survey, in_doubt=True, claimed=claimed)
    assert isinstance(second, Delivered)
    assert here.effects(survey.type) == [survey.type] * 2


async def test_what_waits_for_its_turn_stays_when_the_host_shuts_its_gate() -> None:
    """Found by the simulation: it had passed the gate before, and left in spite of the 429."""
    async with world(in_flight_max=1) as here:
        known = here.hold()
        here.wootric.on(
            *WRITES["update_end_user"], Answer(status=429, headers={"Retry-After": "30"})
        )
        outcomes = await asyncio.gather(
            here.deliver(UPSERT, known=known), here.deliver(RESPONSE, known=known)
        )
        assert [type(one) for one in outcomes] == [Deferred, Deferred]
        assert [method for method, _ in here.requests()] == ["PUT"]


@pytest.mark.parametrize(
    ("status", "headers"),
    [(429, {"Retry-After": "0"}), (503, {"Retry-After": "0"}), (425, {})],
)
@pytest.mark.parametrize("kind", CASES)
async def test_what_was_not_executed_is_sent_again_at_once(
    kind: str, status: int, headers: dict[str, str]
) -> None:
    async with world() as here:
        known = known_for(here, kind)
        here.wootric.on(*WRITES[kind], Answer(status=status, headers=headers))
        outcome = await here.deliver(CASES[kind][0], known=known)
        assert isinstance(outcome, Delivered)
        assert outcome.attempts == 1, "what was turned away is no attempt"
        assert here.effects() == [kind]


@pytest.mark.parametrize("kind", CASES)
async def test_a_long_wait_gives_the_place_back(kind: str) -> None:
    async with world() as here:
        known = known_for(here, kind)
        here.wootric.on(*WRITES[kind], Answer(status=429, headers={"Retry-After": "30"}))
        now = time.monotonic()
        outcome = await here.deliver(CASES[kind][0], known=known)
        assert isinstance(outcome, Deferred)
        assert outcome.reason == "throttled"
        assert now + 29 < outcome.retry_at < time.monotonic() + 32
        assert here.effects() == []
        assert here.heard.waits == [30]
        assert here.sink.capacity(now + 1, unlimited=kind == "page_view") == 0
        assert here.sink.capacity(now + 1, unlimited=kind != "page_view") == 32


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "bad_request"),
        (405, "method_not_allowed"),
        (410, "gone"),
        (413, "too_large"),
        (415, "unsupported_media_type"),
        (422, "validation"),
        (423, "locked"),
    ],
)
@pytest.mark.parametrize("kind", [kind for kind in CASES if kind != "delete_end_user"])
async def test_a_refusal_is_final_and_says_why(kind: str, status: int, reason: str) -> None:
    async with world() as here:
        known = known_for(here, kind)
        body = '{"error":"ada@example.com will not do"}'
        here.wootric.on(*WRITES[kind], Answer(status=status, body=body))
        outcome = await here.deliver(CASES[kind][0], known=known)
        assert outcome == Rejected(
            reason=reason, detail="<e-mail> will not do", status=status, attempts=1
        )
        assert here.effects() == []


@pytest.mark.parametrize("fault", [Drop(), Answer(status=500), Truncate(keep_bytes=3)], ids=repr)
async def test_a_look_up_in_trouble_is_asked_again(fault: Drop) -> None:
    async with world() as here:
        here.hold()
        here.wootric.on("GET", "/v1/end_users/{id}", fault)
        assert isinstance(await here.deliver(UPSERT), Delivered)
        assert here.effects() == ["update_end_user"]


async def test_a_look_up_that_never_works_leaves_no_doubt() -> None:
    async with world() as here:
        here.wootric.on("GET", "/v1/end_users/{id}", Answer(status=500), always=True)
        outcome = await here.deliver(UPSERT)
        assert isinstance(outcome, Deferred)
        assert outcome.attempts == 0
        assert here.effects() == []


@pytest.mark.parametrize("operation", [UPSERT, DELETE, RESPONSE, DECLINE], ids=lambda one: one.type)
async def test_a_look_up_that_can_not_be_read_does_not_say_that_nobody_is_there(
    operation: Operation,
) -> None:
    """Somebody would be created once more, or not be deleted."""
    async with world() as here:
        here.hold()
        page = Answer(status=200, body="<html>we are back in a minute</html>")
        here.wootric.on("GET", "/v1/end_users/{id}", page, always=True)
        assert isinstance(await here.deliver(operation), Deferred)
        assert here.effects() == []


async def test_an_end_user_with_half_a_pair_in_its_properties_is_found() -> None:
    """And with a number that is none: other writers of JSON let both through."""
    async with world() as here:
        user = here.hold()
        body = '{"id":%d,"external_id":"%s","properties":{"a":"\\ud83d","b":1e999,"c":1}}'
        shown = Answer(status=200, body=body % (user.id, user.external_id))
        here.wootric.on("GET", "/v1/end_users/{id}", shown)
        outcome = await here.deliver(UPSERT)
        assert here.effects() == ["update_end_user"]
        assert isinstance(outcome, Delivered)
        assert outcome.end_user.properties["c"] == 1


async def test_a_look_up_that_finds_a_stranger_finds_nobody() -> None:
    """A server that ignores the parameter would answer with whoever has this id."""
    async with world() as here:
        body = '{"id":1,"external_id":"eve","email":"eve@example.com","properties":{}}'
        here.wootric.on("GET", "/v1/end_users/{id}", Answer(status=200, body=body))
        await here.deliver(UPSERT)
        assert here.effects() == ["create_end_user"]


async def test_a_list_that_ignores_the_email_finds_nobody() -> None:
    async with world() as here:
        body = '[{"id":1,"email":"eve@example.com","properties":{}}]'
        here.wootric.on("GET", "/v1/end_users", Answer(status=200, body=body))
        await here.deliver(UpsertEndUser(email="ada@example.com"))
        assert here.effects() == ["create_end_user"]


@pytest.mark.parametrize("operation", [RESPONSE, DECLINE], ids=["response", "decline"])
@pytest.mark.parametrize("effect", [True, False])
async def test_a_doubt_about_the_end_user_is_a_doubt_about_the_survey(
    operation: Operation, *, effect: bool
) -> None:
    async with world() as here:
        here.wootric.on(*WRITES["create_end_user"], Drop(effect=effect))
        assert isinstance(await here.deliver(operation), InDoubt)
        outcome = await here.deliver(operation, in_doubt=True)
        assert isinstance(outcome, Delivered)
        assert sorted(here.effects()) == sorted(["create_end_user", operation.type])


async def test_a_created_end_user_whose_id_was_lost_is_found_for_the_survey() -> None:
    async with world() as here:
        here.wootric.on(*WRITES["create_end_user"], Truncate(keep_bytes=3))
        assert isinstance(await here.deliver(RESPONSE), Delivered)
        assert here.effects() == ["create_end_user", "create_response"]


async def test_an_error_under_a_good_status_is_a_refusal() -> None:
    async with world() as here:
        body = '{"error":"Validation failed: Email is ugly"}'
        here.wootric.on(*WRITES["create_end_user"], Answer(status=200, body=body))
        outcome = await here.deliver(UPSERT)
        assert isinstance(outcome, Rejected)
        assert outcome.reason == "validation"


@pytest.mark.parametrize("kind", CASES)
async def test_out_of_lease_nothing_is_sent(here: World, kind: str) -> None:
    known = known_for(here, kind)
    here.lease = False
    outcome = await here.deliver(CASES[kind][0], known=known)
    assert isinstance(outcome, Deferred)
    assert (outcome.reason, outcome.attempts) == ("lease", 0)
    assert here.effects() == []
    assert here.requests(*WRITES[kind]) == []


@pytest.mark.parametrize("has_token", [True, False])
@pytest.mark.parametrize("kind", CASES)
async def test_a_refused_connection_sent_nothing_and_is_given_back(
    monkeypatch: pytest.MonkeyPatch, kind: str, *, has_token: bool
) -> None:
    monkeypatch.setattr(client, "QUEUE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(client, "RETRY_INITIAL_S", 0.01)
    async with world() as here:
        known = known_for(here, kind)
        if has_token:
            await here.sink.authorize()
        await here.wootric.stop()
        await asyncio.sleep(0.01)  # until the client has seen that its connection was closed
        outcome = await here.deliver(CASES[kind][0], known=known)
        assert isinstance(outcome, Deferred)
        assert outcome.attempts == 0
        await here.wootric.start()
        await asyncio.sleep(max(0.0, outcome.retry_at - time.monotonic()))
        assert isinstance(await here.deliver(CASES[kind][0], known=known), Delivered)
        assert here.effects() == [kind]


async def test_a_host_that_is_silent_for_long_is_left_alone_until_it_answers() -> None:
    async with world(probe_interval_s=0.05) as here:
        known = here.hold()
        here.wootric.on(*WRITES["update_end_user"], Answer(status=500), times=20)
        for seats in range(20):
            wanted = UpsertEndUser(external_id="ada", properties={"seats_amount": seats})
            assert isinstance(await here.deliver(wanted, known=known), InDoubt)
        assert here.heard.circuits == [("api", True, "unreachable")]
        assert here.sink.capacity(0.0) == 0
        before = len(here.requests())
        assert isinstance(await here.deliver(UPSERT, known=known), Deferred)
        assert len(here.requests()) == before
        await here.sink.start()
        await until(lambda: not here.sink.circuits()["api"], "it closes", here.requests)
        assert isinstance(await here.deliver(UPSERT, known=known), Delivered)


async def test_a_merge_under_way_twice_ends_in_the_same_state() -> None:
    """A late copy of an update, sent again after its doubt, changes nothing."""
    async with world(Behaviour(put_properties="replace")) as here:
        known = here.hold(properties={"city": "Kyiv"})
        here.wootric.on(*WRITES["update_end_user"], LateEffect(after_s=3600))
        assert isinstance(await here.deliver(UPSERT, known=known), InDoubt)
        assert isinstance(await here.deliver(UPSERT, known=known, in_doubt=True), Delivered)
        assert len(here.effects()) == 1
        here.let_late_effects_come()
        assert len(here.effects()) == 2
        assert here.user().properties == {"city": "Kyiv", "plan": "pro", "seats_amount": 3}
        assert here.user().external_created_at == AT
        again = await here.deliver(UPSERT)
        assert isinstance(again, Skipped)


@pytest.mark.parametrize(
    ("status", "refused", "reason"), [(400, 0, "lookup_bad_request"), (403, 1, "forbidden")]
)
@pytest.mark.parametrize("kind", OBSERVABLE)
async def test_what_can_not_be_looked_for_is_no_rejection(
    kind: str, status: int, refused: int, reason: str
) -> None:
    """Its effect may be there: replayed as a dead letter it would be there twice."""
    async with world() as here:
        known = known_for(here, kind)
        here.wootric.on(*WRITES[kind], Drop(effect=True))
        assert isinstance(await here.deliver(CASES[kind][0], known=known), InDoubt)
        here.wootric.on("GET", "/v1/end_users/{id}", Answer(status=status), always=True)
        outcome = await here.deliver(CASES[kind][0], in_doubt=True, refused=refused)
        assert isinstance(outcome, Parked)
        assert outcome.reason == reason
        assert here.effects() == [kind]


@pytest.mark.parametrize("kind", CASES)
async def test_a_defect_of_ours_after_the_answer_is_a_doubt(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was executed must not count as never sent."""
    async with world() as here:
        known, mind = known_for(here, kind), Endpoint.on_rate_limit_headers

        def fail(host: Endpoint, evidence: SendResult, *, number: int) -> None:
            mind(host, evidence, number=number)
            if here.effects():
                raise ZeroDivisionError

        monkeypatch.setattr(Endpoint, "on_rate_limit_headers", fail)
        outcome = await here.deliver(CASES[kind][0], known=known)
        assert isinstance(outcome, InDoubt)
        assert here.effects() == [kind]
