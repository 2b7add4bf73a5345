"""Every operation against Wootric as it might be; what Wootric holds is the oracle."""

from collections.abc import AsyncIterator

import pytest
from readings import LIKELY, READINGS, reading_name
from sink_world import (
    AT,
    DECLINE,
    DELETE,
    PAGE,
    RESPONSE,
    UPSERT,
    URL,
    WRITES,
    World,
    claimed_by,
    world,
)

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
from sink.wootric.operations import CreateResponse, DeleteEndUser, PageView, UpsertEndUser
from stream.devtools.wootric_emulator import Answer, Drop


@pytest.fixture(params=READINGS, ids=reading_name)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """The world under each reading of what the documents leave open."""
    async with world(request.param) as one:
        yield one


async def test_an_unknown_end_user_is_created(here: World) -> None:
    outcome = await here.deliver(UPSERT)
    user = here.user()
    assert here.effects() == ["create_end_user"]
    assert (user.email, user.external_created_at, user.properties) == (
        "ada@example.com",
        AT,
        {"plan": "pro", "seats_amount": 3},
    )
    assert isinstance(outcome, Delivered)
    assert outcome.end_user == EndUser(
        id=user.id,
        email="ada@example.com",
        external_id="ada",
        external_created_at=AT,
        properties=dict(UPSERT.properties),
    )
    assert (outcome.status, outcome.attempts) == (201, 1)


async def test_a_known_end_user_costs_one_request(here: World) -> None:
    known = here.hold(properties={"plan": "free", "city": "Kyiv"})
    outcome = await here.deliver(UPSERT, known=known)
    assert here.requests() == [("PUT", f"/v1/end_users/{known.id}")]
    assert here.user().properties == {"plan": "pro", "city": "Kyiv", "seats_amount": 3}
    assert isinstance(outcome, Delivered)
    assert outcome.end_user is not None
    assert outcome.end_user.properties == here.user().properties


async def test_an_unchanged_end_user_costs_none(here: World) -> None:
    known = here.hold(properties=dict(UPSERT.properties), external_created_at=AT)
    assert await here.deliver(UPSERT, known=known) == Skipped(reason="unchanged", end_user=known)
    assert here.requests() == []


async def test_an_end_user_found_is_changed_where_it_differs(here: World) -> None:
    here.hold(properties={"city": "Kyiv"})
    await here.deliver(UPSERT)
    assert here.effects() == ["update_end_user"]
    assert here.user().properties == {"plan": "pro", "city": "Kyiv", "seats_amount": 3}


async def test_an_end_user_found_as_wanted_is_left_alone(here: World) -> None:
    here.hold(properties=dict(UPSERT.properties), external_created_at=AT)
    outcome = await here.deliver(UPSERT)
    assert isinstance(outcome, Skipped)
    assert here.effects() == []


async def test_after_a_doubt_the_state_that_is_wanted_is_the_effect(here: World) -> None:
    here.hold(properties=dict(UPSERT.properties), external_created_at=AT)
    outcome = await here.deliver(UPSERT, in_doubt=True)
    assert isinstance(outcome, Delivered)
    assert here.effects() == []


async def test_a_profile_that_is_not_known_is_looked_up_by_id(here: World) -> None:
    known = here.hold(properties={"city": "Kyiv"})
    unknown = EndUser(id=known.id, email=known.email, external_id="ada")
    await here.deliver(UPSERT, known=unknown)
    assert here.requests()[0] == ("GET", f"/v1/end_users/{known.id}")
    assert here.user().properties == {"plan": "pro", "city": "Kyiv", "seats_amount": 3}


async def test_a_remembered_absence_is_not_trusted_for_writes(here: World) -> None:
    here.hold()
    await here.deliver(UPSERT, known=EndUser(id=None, external_id="ada"))
    assert here.effects() == ["update_end_user"]


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ({"email": "ada@example.com"}, "email"),
        ({"phone_number": "+14155550100"}, "phone_number"),
        ({"external_id": "a/b ?ü"}, "external_id"),
    ],
)
async def test_an_end_user_is_found_by_any_identity(
    here: World, identity: dict[str, str], name: str
) -> None:
    for plan in ("free", "pro"):
        await here.deliver(UpsertEndUser(**identity, properties={"plan": plan}))
    assert here.effects() == ["create_end_user", "update_end_user"]
    assert here.wootric.state.find(name, identity[name]).properties == {"plan": "pro"}


async def test_an_id_that_is_no_longer_there_is_looked_up_again(here: World) -> None:
    gone = EndUser(id=999, email="ada@example.com", external_id="ada", properties={})
    here.hold()
    await here.deliver(UPSERT, known=gone)
    assert here.effects() == ["update_end_user"]


async def test_an_end_user_that_is_gone_is_created_again(here: World) -> None:
    gone = EndUser(id=999, email="ada@example.com", external_id="ada", properties={})
    await here.deliver(UPSERT, known=gone)
    assert here.effects() == ["create_end_user"]


@pytest.mark.parametrize("survey", [RESPONSE, DECLINE], ids=["response", "decline"])
async def test_a_survey_of_an_unknown_end_user_creates_both(
    here: World, survey: CreateResponse
) -> None:
    outcome = await here.deliver(survey)
    assert here.effects() == ["create_end_user", survey.type]
    effect = here.wootric.state.effects[-1]
    assert isinstance(outcome, Delivered)
    named = here.wootric.behaviour.survey_reply == "record"
    assert outcome.remote_id == (effect.id if named else None)
    assert outcome.end_user is not None
    assert outcome.end_user.id == here.user().id
    assert outcome.end_user.properties == survey.properties
    assert here.user().properties == survey.properties
    assert len(here.requests()) == 3
    assert effect.fields["created_at"] == AT
    assert effect.fields["origin_url"] == URL


@pytest.mark.parametrize("survey", [RESPONSE, DECLINE], ids=["response", "decline"])
async def test_a_survey_keeps_the_properties_that_it_does_not_name(
    here: World, survey: CreateResponse
) -> None:
    known = here.hold(properties={"plan": "pro", "city": "Kyiv"})
    await here.deliver(survey, known=known)
    assert [method for method, _ in here.requests()] == ["PUT", "POST"], "the queue is slower"
    assert here.user().properties == {"plan": "free", "city": "Kyiv"}


@pytest.mark.parametrize("survey", [RESPONSE, DECLINE], ids=["response", "decline"])
async def test_a_survey_of_a_known_end_user_costs_one_request(
    here: World, survey: CreateResponse
) -> None:
    known = here.hold(properties={"plan": "free", "city": "Kyiv"})
    await here.deliver(survey, known=known)
    assert here.requests() == [here.requests("POST")[0]]


async def test_a_survey_bears_the_same_link_on_every_attempt(here: World) -> None:
    known = here.hold(properties={"plan": "free"})
    here.wootric.on("POST", "/v1/end_users/{id}/responses", Drop(effect=False))
    assert isinstance(await here.deliver(RESPONSE, known=known), InDoubt)
    assert isinstance(await here.deliver(RESPONSE, known=known, in_doubt=True), Delivered)
    posted = [one for one in here.wootric.journal.entries if one.path.endswith("/responses")]
    links = [one.parameters["survey"]["unique_link"] for one in posted if one.method == "POST"]
    assert len(links) == 2
    assert len(set(links)) == 1
    assert len(links[0]) == 32


async def test_a_survey_for_an_id_that_is_gone_finds_the_end_user(here: World) -> None:
    here.hold()
    gone = EndUser(id=999, email="ada@example.com", external_id="ada", properties={})
    outcome = await here.deliver(RESPONSE, known=gone)
    assert isinstance(outcome, Delivered)
    assert here.effects("create_response") == ["create_response"]


async def test_a_survey_in_doubt_is_recognised_among_many(here: World) -> None:
    """Beyond the first page of the list, too."""
    known = here.hold()
    for second in range(60):
        here.wootric.state.add_response(
            here.user(),
            {"score": 9, "text": "fine", "origin_url": URL, "created_at": AT - 59 + second},
            keep_properties=True,
        )
    wanted = here.wootric.state.effects[-1].id
    here.wootric.state.effects.clear()
    outcome = await here.deliver(RESPONSE, known=known, in_doubt=True)
    assert isinstance(outcome, Delivered)
    assert outcome.remote_id == wanted
    assert here.effects() == []


async def test_a_survey_in_doubt_that_is_not_there_is_sent(here: World) -> None:
    outcome = await here.deliver(RESPONSE, known=here.hold(), in_doubt=True)
    assert isinstance(outcome, Delivered)
    assert here.effects("create_response") == ["create_response"]


async def test_what_another_receipt_names_is_not_ours(here: World) -> None:
    known = here.hold()
    first = await here.deliver(RESPONSE, known=known, request_id="first")
    assert isinstance(first, Delivered)
    claimed = frozenset({claimed_by(first)})
    second = await here.deliver(RESPONSE, known=known, in_doubt=True, claimed=claimed)
    assert isinstance(second, Delivered)
    assert here.effects("create_response") == ["create_response"] * 2


@pytest.mark.parametrize("receipts", [1, 2, 3])
async def test_each_receipt_without_an_id_claims_one_of_those_just_alike(receipts: int) -> None:
    """Else one that is in doubt would be taken for another's, and be lost."""
    async with world() as here:
        known, claimed = here.hold(), set()
        for number in range(receipts):
            outcome = await here.deliver(RESPONSE, known=known)
            assert isinstance(outcome, Delivered)
            claimed.add(claimed_by(outcome, number))
        here.wootric.on("POST", "/v1/end_users/{id}/responses", Drop(effect=True))
        assert isinstance(await here.deliver(RESPONSE, known=known), InDoubt)
        for _ in range(2):
            outcome = await here.deliver(RESPONSE, in_doubt=True, claimed=frozenset(claimed))
            assert isinstance(outcome, Delivered)
        assert len(here.effects("create_response")) == receipts + 1


async def test_two_candidates_are_parked(here: World) -> None:
    known = here.hold()
    for request_id in ("first", "second"):
        await here.deliver(RESPONSE, known=known, request_id=request_id)
    outcome = await here.deliver(RESPONSE, known=known, in_doubt=True)
    assert isinstance(outcome, Parked)
    assert outcome.reason == "two_candidates"
    assert here.effects("create_response") == ["create_response"] * 2


async def test_declines_are_told_apart_by_their_origin(here: World) -> None:
    known = here.hold()
    other = {"origin_url": "https://other.example", "created_at": AT}
    here.wootric.state.add_decline(here.user(), other, keep_properties=True)
    here.wootric.state.effects.clear()
    outcome = await here.deliver(DECLINE, known=known, in_doubt=True)
    assert isinstance(outcome, Delivered)
    assert here.effects("create_decline") == ["create_decline"]


async def test_a_list_that_cannot_be_seen_to_its_end_is_parked(here: World) -> None:
    """Pages end at 30: the effect may lie beyond."""
    known = here.hold()
    for second in range(1501):
        here.wootric.state.add_response(
            here.user(), {"score": 1, "created_at": second}, keep_properties=True
        )
    here.wootric.state.effects.clear()
    outcome = await here.deliver(RESPONSE, known=known, in_doubt=True)
    assert isinstance(outcome, Parked)
    assert outcome.reason == "list_incomplete"
    assert here.effects() == []


@pytest.mark.parametrize("body", ['{"responses":[{"id":1}]}', "<html>", "", "null", "[7]"])
async def test_a_list_of_another_shape_is_asked_for_again(body: str) -> None:
    """Taken for an empty one, the response would be sent a second time."""
    async with world() as here:
        known = here.hold()
        await here.deliver(RESPONSE, known=known)
        here.wootric.on("GET", "/v1/end_users/{id}/responses", Answer(status=200, body=body))
        assert isinstance(await here.deliver(RESPONSE, in_doubt=True), Delivered)
        assert here.effects("create_response") == ["create_response"]


@pytest.mark.parametrize("body", ['[{"id":null}]', '[{"id":"r-1"}]'])
async def test_a_list_without_ids_says_nothing_of_what_is_not_in_it(body: str) -> None:
    async with world() as here:
        known = here.hold()
        await here.deliver(RESPONSE, known=known)
        here.wootric.on("GET", "/v1/end_users/{id}/responses", Answer(status=200, body=body))
        outcome = await here.deliver(RESPONSE, in_doubt=True)
        assert isinstance(outcome, Parked)
        assert outcome.reason == "list_incomplete"
        assert here.effects("create_response") == ["create_response"]


@pytest.mark.parametrize("status", [201, 202])
@pytest.mark.parametrize(
    "body", ["", "{}", '{"id":null}', '{"response":{"id":1}}', "[]", "created"]
)
async def test_a_survey_that_is_queued_is_a_receipt_at_once(status: int, body: str) -> None:
    async with world() as here:
        known = here.hold(properties=RESPONSE.properties)
        answer = Answer(status=status, body=body, effect=True)
        here.wootric.on("POST", "/v1/end_users/{id}/responses", answer)
        outcome = await here.deliver(RESPONSE, known=known)
        assert isinstance(outcome, Delivered)
        assert outcome.remote_id is None
        assert len(here.requests()) == 1


PAGE_OF_A_PROXY = "<!DOCTYPE html><title>Down for maintenance</title>"


@pytest.mark.parametrize("effect", [True, False], ids=["executed", "not executed"])
@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        ("create_end_user", UPSERT),
        ("update_end_user", UPSERT),
        ("delete_end_user", DELETE),
        ("create_response", RESPONSE),
        ("create_decline", DECLINE),
    ],
)
async def test_a_page_under_a_good_status_proves_nothing(
    kind: str, operation: Operation, status: int, *, effect: bool
) -> None:
    """Three creates answered by a maintenance page were three receipts, and nothing was there."""
    async with world() as here:
        known = None if kind == "create_end_user" else here.hold()
        here.wootric.on(*WRITES[kind], Answer(status=status, body=PAGE_OF_A_PROXY, effect=effect))
        outcome = await here.deliver(operation, known=known)
        assert isinstance(outcome, InDoubt)
        outcome = await here.deliver(operation, in_doubt=True)
        assert isinstance(outcome, Delivered)
        assert here.effects(kind) == [kind]


@pytest.mark.parametrize("body", [PAGE_OF_A_PROXY, '{"pixel":true}'])
async def test_a_pixel_that_is_no_image_is_in_doubt(body: str) -> None:
    async with world() as here:
        here.wootric.on("GET", "/pixel.gif", Answer(status=200, body=body))
        assert isinstance(await here.deliver(PAGE), InDoubt)


@pytest.mark.parametrize("status", [200, 404, 410])
@pytest.mark.parametrize("body", [PAGE_OF_A_PROXY, "\ufeff <html>", "404 page not found"])
@pytest.mark.parametrize("operation", [UPSERT, DELETE, RESPONSE], ids=lambda one: one.type)
async def test_a_page_instead_of_a_look_up_is_not_nobody(
    operation: Operation, body: str, status: int
) -> None:
    """A person who is there would be created once more, or not be deleted."""
    async with world() as here:
        here.hold()
        here.wootric.on("GET", "*", Answer(status=status, body=body))
        assert isinstance(await here.deliver(operation), Delivered)
        assert "create_end_user" not in here.effects()


@pytest.mark.parametrize(("in_doubt", "end"), [(False, Rejected), (True, Parked)])
async def test_a_survey_that_is_not_found_for_an_end_user_who_is_does_not_go_round_for_ever(
    end: type, *, in_doubt: bool
) -> None:
    async with world() as here:
        here.hold()
        path = "/v1/end_users/{id}/responses"
        here.wootric.on("*", path, Answer(status=404), always=True)
        outcome = await here.deliver(RESPONSE, in_doubt=in_doubt)
        assert isinstance(outcome, Deferred)
        assert outcome.refused
        outcome = await here.deliver(RESPONSE, in_doubt=in_doubt, refused=1)
        assert isinstance(outcome, end)
        assert outcome.reason == "record_not_found"


async def test_an_end_user_created_for_a_survey_and_not_found_yet_is_not_created_again() -> None:
    async with world() as here:
        here.wootric.on("POST", "/v1/end_users", Answer(status=201, effect=True))
        missing = Answer(status=404)
        here.wootric.on("GET", "/v1/end_users/{id}", missing, times=2)
        assert isinstance(await here.deliver(RESPONSE), InDoubt)
        assert isinstance(await here.deliver(RESPONSE, in_doubt=True), Delivered)
        assert here.effects() == ["create_end_user", "create_response"]


async def test_a_survey_of_nobody_is_rejected(here: World) -> None:
    outcome = await here.deliver(CreateResponse(score=1))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "no_identity"
    assert here.requests() == []


@pytest.mark.parametrize("is_known", [True, False])
async def test_an_end_user_is_deleted(here: World, *, is_known: bool) -> None:
    held = here.hold()
    outcome = await here.deliver(DELETE, known=held if is_known else None)
    assert here.effects() == ["delete_end_user"]
    assert isinstance(outcome, Delivered)
    assert outcome.end_user is None, "it is looked up from now on"


async def test_deleting_somebody_who_is_not_there_is_done(here: World) -> None:
    gone = EndUser(id=999, external_id="ada")
    for known in (None, gone, EndUser(id=None)):
        outcome = await here.deliver(DeleteEndUser(external_id="ada"), known=known)
        assert isinstance(outcome, Skipped)
        assert outcome.reason == "absent", "nobody was deleted"
    assert here.effects() == []


async def test_a_delete_by_email_finds_whom_the_look_up_does_not_show(here: World) -> None:
    user = here.hold(external_id=None)
    held = here.wootric.state.by_id(user.id)
    here.wootric.state.add_response(held, {"score": 1}, keep_properties=True)
    here.wootric.state.effects.clear()
    here.wootric.on("GET", "/v1/end_users/{id}", Answer(status=404, body=""))
    outcome = await here.deliver(DeleteEndUser(email=user.email))
    assert isinstance(outcome, Delivered)
    assert here.effects() == ["delete_end_user"]


async def test_a_page_that_names_its_person_costs_one_request(here: World) -> None:
    outcome = await here.deliver(PAGE)
    assert here.requests() == [("GET", "/pixel.gif")]
    view = here.wootric.state.page_views[0]
    assert (view.account_token, view.email, view.created_at, view.url, view.random) == (
        "NPS-4aeb53c1",
        "ada@example.com",
        str(AT),
        URL,
        "0.5",
    )
    assert isinstance(outcome, Delivered)


async def test_a_page_takes_its_person_from_what_is_known(here: World) -> None:
    known = here.hold(external_created_at=7)
    await here.deliver(PageView(url=URL, random="0.5", external_id="ada"), known=known)
    assert here.requests() == [("GET", "/pixel.gif")]
    view = here.wootric.state.page_views[0]
    assert (view.email, view.created_at) == ("ada@example.com", "7")


async def test_a_page_looks_its_person_up_once(here: World) -> None:
    held = here.hold(external_created_at=7)
    outcome = await here.deliver(PageView(url=URL, random="0.5", external_id="ada"))
    assert here.wootric.state.page_views[0].email == "ada@example.com"
    assert isinstance(outcome, Delivered)
    assert outcome.end_user == held


async def test_a_page_of_an_unknown_email_asks_for_its_creation_once(here: World) -> None:
    page = PageView(url=URL, random="0.5", email="eve@example.com")
    outcome = await here.deliver(page)
    assert outcome == Delivered(
        end_user=EndUser(id=None, email="eve@example.com"), status=200, attempts=1
    )
    before = len(here.requests("GET", "/v1"))
    await here.deliver(page, known=outcome.end_user)
    assert len(here.requests("GET", "/v1")) == before == 1


async def test_a_page_of_nobody_is_skipped_and_the_absence_remembered(here: World) -> None:
    page = PageView(url=URL, random="0.5", external_id="ada")
    outcome = await here.deliver(page)
    absent = EndUser(id=None, external_id="ada")
    assert outcome == Skipped(reason="no_email", end_user=absent)
    before = len(here.requests())
    assert await here.deliver(page, known=absent) == outcome
    assert len(here.requests()) == before
    assert here.effects() == []


async def test_a_value_that_wootric_refuses_is_not_sent_back(here: World) -> None:
    """An older client left it there: each change of the end user would be refused."""
    known = here.hold(properties={"plan": "free", "x_date": "soon", "n_amount": 5})
    outcome = await here.deliver(UPSERT, known=known)
    assert isinstance(outcome, Delivered)
    properties = here.user().properties
    assert (properties["plan"], properties["n_amount"]) == ("pro", 5)


@pytest.mark.parametrize("operation", [UPSERT, RESPONSE], ids=lambda one: one.type)
async def test_what_is_written_before_a_deletion_took_effect_is_counted(
    operation: Operation,
) -> None:
    """The deletion takes it as well: nobody at Wootric can prevent that."""
    async with world(LIKELY.changed({"delete_delay_s": 86_400.0})) as here:
        here.hold()
        assert isinstance(await here.deliver(DELETE), Delivered)
        assert isinstance(await here.deliver(operation), Delivered)
        assert here.heard.conflicts == ["deletion_pending"]
        assert "create_end_user" not in here.effects()
