"""Who is who at Wootric, under every reading: what it holds afterwards, and what that costs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from readings import READINGS, reading_name
from sink_world import RESPONSE, UPSERT, World, as_soon_as, world

from sink.delivery import Delivered, EndUser, Rejected, Skipped
from sink.wootric.operations import DeleteEndUser, UpsertEndUser
from stream.devtools.wootric_emulator import Answer, Behaviour, Delay

ADA, EVE = "ada@example.com", "eve@example.com"


@pytest.fixture(params=READINGS, ids=reading_name)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with world(request.param) as one:
        yield one


def identify(external_id: str | None = None, email: str | None = None, **more: Any) -> Any:
    phone_number = more.pop("phone_number", None)
    return UpsertEndUser(
        external_id=external_id, email=email, phone_number=phone_number, properties=more
    )


async def upsert(
    here: World, wanted: UpsertEndUser, known: EndUser | None = None, *, requests_max: int = 4
) -> EndUser:
    """Bring it there, in four requests at most; return what is known afterwards."""
    before = len(here.requests())
    outcome = await here.deliver(wanted, known=known)
    assert isinstance(outcome, Delivered), outcome
    assert outcome.end_user is not None
    assert len(here.requests()) - before <= requests_max
    return outcome.end_user


def held(here: World) -> list[tuple[str | None, str | None, dict[str, Any]]]:
    """What Wootric holds: external id, e-mail and properties of each end user."""
    users = here.wootric.state.end_users.values()
    return [(user.external_id, user.email, user.properties) for user in users]


async def test_two_user_ids_with_one_email_are_one_end_user(here: World) -> None:
    """The newer user id wins; whatever either says is kept, whoever speaks next."""
    one = await upsert(here, identify("u1", ADA, plan="pro"))
    two = await upsert(here, identify("u2", ADA, city="Kyiv"))
    assert one.id == two.id
    assert held(here) == [("u2", ADA, {"plan": "pro", "city": "Kyiv"})]
    one = await upsert(here, identify("u1", ADA, plan="free"), one)
    assert held(here) == [("u1", ADA, {"plan": "free", "city": "Kyiv"})]
    two = await upsert(here, identify("u2", ADA, city="Bern"), two)
    assert held(here) == [("u2", ADA, {"plan": "free", "city": "Bern"})]
    assert here.heard.conflicts == ["taken_over"] * 3


async def test_a_user_id_that_changed_costs_one_request_again(here: World) -> None:
    """Who has taken an end user over, and shares it with nobody active, is known as well."""
    await upsert(here, identify("u1", ADA, plan="pro"))
    two = await upsert(here, identify("u2", ADA, city="Kyiv"))
    before = len(here.requests())
    await upsert(here, identify("u2", ADA, city="Bern"), two)
    assert len(here.requests()) == before + 1


async def test_another_worker_learns_from_a_reply_that_an_end_user_was_taken_over() -> None:
    """From the full one: that of 2015 shows no user id."""
    async with world() as here:
        one = await upsert(here, identify("u1", ADA, plan="pro"))
        user, theirs = here.user("u1"), {"external_id": "u2"}
        here.wootric.state.update_end_user(user, theirs, unique=(), keep_properties=True)
        one = await upsert(here, identify("u1", ADA, plan="free"), one)
        assert (one.external_id, one.properties) == ("u2", None)
        one = await upsert(here, identify("u1", ADA, plan="pro"), one)
        assert (one.external_id, one.properties) == ("u1", {"plan": "pro"})
        assert held(here) == [("u1", ADA, {"plan": "pro"})]


async def test_an_anonymous_user_who_gets_a_user_id_stays_one_end_user(here: World) -> None:
    anonymous = await upsert(here, identify(None, ADA, plan="pro"))
    await upsert(here, identify("u1", ADA, city="Kyiv"))
    assert held(here) == [("u1", ADA, {"plan": "pro", "city": "Kyiv"})]
    await upsert(here, identify(None, ADA, plan="free"), anonymous)
    assert held(here) == [("u1", ADA, {"plan": "free", "city": "Kyiv"})]
    assert here.heard.conflicts == ["joined"]


@pytest.mark.parametrize("snippet_id", [None, "u1"])
async def test_an_end_user_that_is_created_between_look_up_and_create(
    here: World, snippet_id: str | None
) -> None:
    """By the web snippet, say, with or without the user id."""
    here.wootric.on("POST", "/v1/end_users", Delay(before_s=0.02))
    wanted = identify("u1", ADA, city="Kyiv")
    ours = asyncio.create_task(upsert(here, wanted))
    await as_soon_as(lambda: here.requests("POST"), "it is to be created")
    fields = {"email": ADA, "external_id": snippet_id, "properties": {"plan": "web"}}
    here.wootric.state.create_end_user(fields, unique=())
    await ours
    assert held(here) == [("u1", ADA, {"plan": "web", "city": "Kyiv"})]
    assert [method for method, _ in here.requests()] == ["GET", "POST", "GET", "PUT"]
    assert here.heard.conflicts == ["joined"]


async def test_an_email_that_changes_moves_with_its_end_user(here: World) -> None:
    known = await upsert(here, identify("u1", ADA, plan="pro"))
    before = len(here.requests())
    await upsert(here, identify("u1", EVE, plan="pro"), known)
    assert len(here.requests()) == before + 1
    assert held(here) == [("u1", EVE, {"plan": "pro"})]
    await upsert(here, identify(None, ADA, plan="free"))
    assert len(held(here)) == 2, "whoever bears the old e-mail is somebody else"
    assert here.heard.conflicts == []


@pytest.mark.parametrize("is_looked_up", [True, False])
async def test_an_email_that_another_end_user_holds_stays_there(
    here: World, *, is_looked_up: bool
) -> None:
    """The rest of the profile is sent, and the e-mail left as it was."""
    known = await upsert(here, identify("u1", ADA, plan="pro"))
    await upsert(here, identify("u2", EVE))
    after = await upsert(here, identify("u1", EVE, plan="free"), None if is_looked_up else known)
    assert after.email == ADA
    assert held(here) == [("u1", ADA, {"plan": "free"}), ("u2", EVE, {})]
    assert here.heard.conflicts == ["email_taken"]
    before = len(here.requests())
    outcome = await here.deliver(identify("u1", EVE, plan="free"), known=after)
    assert outcome == Skipped(reason="identity_taken", end_user=after)
    assert len(here.requests()) == before + 1, "it may be free by now"
    here.wootric.state.delete_end_user(here.user("u2"))
    await upsert(here, identify("u1", EVE, plan="free"), after)
    assert held(here) == [("u1", EVE, {"plan": "free"})]


async def test_after_a_doubt_what_could_be_brought_counts_as_the_effect(here: World) -> None:
    known = await upsert(here, identify("u1", ADA, plan="free"))
    await upsert(here, identify("u2", EVE))
    outcome = await here.deliver(identify("u1", EVE, plan="free"), known=known, in_doubt=True)
    assert isinstance(outcome, Delivered)
    assert held(here) == [("u1", ADA, {"plan": "free"}), ("u2", EVE, {})]


async def test_a_shared_phone_number_makes_nobody_somebody_else(here: World) -> None:
    """Where it has to be unique, the second end user is created without it."""
    refused = here.wootric.behaviour.duplicate_phone_number == "refuse"
    await upsert(here, identify("u1", ADA, phone_number="+14155550100"))
    two = await upsert(here, identify("u2", EVE, phone_number="+14155550100", plan="pro"))
    assert held(here) == [("u1", ADA, {}), ("u2", EVE, {"plan": "pro"})]
    assert here.user("u2").phone_number == (None if refused else "+14155550100")
    assert here.heard.conflicts == (["phone_number_taken"] if refused else [])
    outcome = await here.deliver(
        identify("u2", EVE, phone_number="+14155550100", plan="pro"), known=two
    )
    assert isinstance(outcome, Skipped)


async def test_a_phone_number_alone_names_an_end_user(here: World) -> None:
    await upsert(here, identify(None, None, phone_number="+14155550100", plan="free"))
    await upsert(here, identify(None, None, phone_number="+14155550100", plan="pro"))
    assert held(here) == [(None, None, {"plan": "pro"})]


async def test_who_could_never_be_found_again_is_not_created(here: World) -> None:
    """Wootric takes a number without its plus for an id: each identify would be a new user."""
    outcome = await here.deliver(identify(None, None, phone_number="4155550100"))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "phone_number_not_findable"
    assert here.effects() == []


async def test_somebody_who_was_deleted_behind_our_back_is_created_again(here: World) -> None:
    known = await upsert(here, identify("u1", ADA, plan="pro"))
    here.wootric.state.delete_end_user(here.user("u1"))
    before = len(here.requests())
    await upsert(here, identify("u1", ADA, plan="free"), known)
    assert held(here) == [("u1", ADA, {"plan": "free"})]
    assert [method for method, _ in here.requests()[before:]] == ["PUT", "GET", "POST"]
    assert here.heard.conflicts == ["gone"]


async def test_a_survey_of_somebody_deleted_behind_our_back_creates_them(here: World) -> None:
    known = await upsert(here, identify("ada", ADA))
    here.wootric.state.delete_end_user(here.user())
    assert isinstance(await here.deliver(RESPONSE, known=known), Delivered)
    assert here.effects()[-2:] == ["create_end_user", "create_response"]
    assert here.heard.conflicts == ["gone"]


async def test_an_end_user_that_has_become_somebody_elses_is_left_alone(here: World) -> None:
    """Taken over for its e-mail by another one, while its first bearer has moved on."""
    one = await upsert(here, identify("u1", ADA, plan="pro"))
    await upsert(here, identify("u2", ADA, city="Kyiv"))
    await upsert(here, identify("u1", EVE, plan="free"), one)
    assert held(here) == [
        ("u2", ADA, {"plan": "pro", "city": "Kyiv"}),
        ("u1", EVE, {"plan": "free"}),
    ]
    assert here.heard.conflicts == ["taken_over", "gone"]


async def test_whoever_has_another_email_now_is_not_found_by_the_old_one(here: World) -> None:
    anonymous = await upsert(here, identify(None, ADA, plan="pro"))
    one = await upsert(here, identify("u1", ADA))
    await upsert(here, identify("u1", EVE), one)
    await upsert(here, identify(None, ADA, plan="free"), anonymous)
    assert held(here) == [("u1", EVE, {"plan": "pro"}), (None, ADA, {"plan": "free"})]


async def test_a_delete_finds_whoever_bears_the_email_only(here: World) -> None:
    """An end user of the web snippet has no user id; whoever asks for deletion means it too."""
    await upsert(here, identify(None, ADA))
    await upsert(here, identify("u2", EVE))
    for email, ends in ((EVE, Skipped), (ADA, Delivered)):
        outcome = await here.deliver(DeleteEndUser(external_id="u1", email=email))
        assert isinstance(outcome, ends)
    assert held(here) == [("u2", EVE, {})]


async def test_a_delete_leaves_alone_what_has_become_somebody_elses(here: World) -> None:
    one = await upsert(here, identify("u1", ADA))
    here.wootric.state.update_end_user(
        here.user("u1"), {"external_id": "u2"}, unique=(), keep_properties=True
    )
    outcome = await here.deliver(DeleteEndUser(external_id="u1"), known=one)
    assert isinstance(outcome, Skipped)
    assert held(here) == [("u2", ADA, {})]


@pytest.mark.parametrize(
    ("wanted", "is_known", "methods"),
    [
        (identify("u1", ADA, plan="pro"), True, []),
        (identify("u1", ADA, plan="free"), True, ["PUT"]),
        (identify("u1", ADA, plan="pro"), False, ["GET"]),
        (identify("u1", ADA, plan="free"), False, ["GET", "PUT"]),
        (identify("u2", EVE), False, ["GET", "POST"]),
        (identify("u2", ADA), False, ["GET", "POST", "GET", "PUT"]),
    ],
    ids=["known", "changed", "found", "found_changed", "new", "conflict"],
)
async def test_an_identify_costs_no_more_requests_than_it_has_to(
    here: World, wanted: UpsertEndUser, methods: list[str], *, is_known: bool
) -> None:
    known = await upsert(here, identify("u1", ADA, plan="pro"))
    before = len(here.requests())
    await here.deliver(wanted, known=known if is_known else None)
    assert [method for method, _ in here.requests()[before:]] == methods


@pytest.mark.parametrize(
    "body",
    [
        "",
        '{"errors":{"email":["has already been taken"]}}',
        '{"errors":[{"message":"has already been taken","field":"email"}]}',
        '{"error":"Validation failed: Email has already been taken, Phone has already been taken"}',
    ],
    ids=["nothing", "by field", "list", "two at once"],
)
async def test_a_clash_is_understood_however_it_is_said(body: str) -> None:
    """With 409 even without a word."""
    async with world(Behaviour(duplicate_phone_number="refuse")) as here:
        here.hold(external_id=None)
        here.wootric.on("POST", "/v1/end_users", Answer(status=409, body=body))
        await upsert(here, UPSERT)
        assert here.user().properties == dict(UPSERT.properties)
        known = EndUser(id=here.user().id, external_id="ada", email=ADA, properties={})
        here.wootric.on("PUT", "/v1/end_users/{id}", Answer(status=409, body=body))
        after = await upsert(here, identify("ada", EVE, plan="free"), known)
        assert (here.user().email, after.email) == (ADA, ADA)
        assert here.user().properties["plan"] == "free"


async def test_a_clash_without_a_word_merges_nobody_by_phone_number() -> None:
    async with world() as here:
        here.hold(phone_number="+14155550100")
        here.wootric.on("POST", "/v1/end_users", Answer(status=409))
        wanted = identify("u2", EVE, phone_number="+14155550100")
        await upsert(here, wanted, requests_max=5)  # the list is asked as well
        assert held(here) == [("ada", ADA, {}), ("u2", EVE, {})]


async def test_an_absence_under_a_good_status_is_an_absence() -> None:
    """Of a look-up, an update, a survey."""
    async with world() as here:
        body = '{"type":"error_list","errors":[{"status":"record_not_found","message":"no"}]}'
        known = here.hold()
        for method, path in (("PUT", "/v1/end_users/{id}"), ("GET", "/v1/end_users/{id}")):
            here.wootric.on(method, path, Answer(status=200, body=body))
        here.wootric.state.delete_end_user(here.user())
        await upsert(here, UPSERT, known)
        here.wootric.on("POST", "/v1/end_users/{id}/responses", Answer(status=200, body=body))
        survey = replace(RESPONSE, properties={})
        assert isinstance(await here.deliver(survey, known=known), Delivered)


@pytest.mark.parametrize("status", [200, 400])
async def test_a_look_up_that_is_refused_creates_nobody(status: int) -> None:
    """An error is no absence, whatever its status."""
    async with world() as here:
        body = '{"errors":[{"message":"email does not have a valid value"}]}'
        here.wootric.on("GET", "/v1/end_users/{id}", Answer(status=status, body=body))
        outcome = await here.deliver(UPSERT)
        assert isinstance(outcome, Rejected)
        assert outcome.reason == "lookup_invalid_value"
        assert here.effects() == []


async def test_who_holds_an_identity_and_cannot_be_found_is_a_matter_for_people() -> None:
    async with world() as here:
        body = '{"error":"Validation failed: Email has already been taken"}'
        here.wootric.on("POST", "/v1/end_users", Answer(status=422, body=body))
        outcome = await here.deliver(UPSERT)
        assert outcome == Rejected(
            reason="taken_but_not_found",
            detail="Validation failed: Email has already been taken",
            status=422,
            attempts=1,
        )
