"""The emulator answers as Wootric's documents say, and shows the faults it is told to."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sink_world import as_soon_as
from waiting import STILL_S, stretched, until
from yarl import URL

from stream.devtools.wootric_emulator import (
    Answer,
    Behaviour,
    Delay,
    Drop,
    Emulator,
    LateEffect,
    LostReplies,
    LostRequests,
    Truncate,
)
from stream.devtools.wootric_emulator.api import Api, Call
from stream.devtools.wootric_emulator.views import time_text

NOT_FOUND = {
    "type": "error_list",
    "errors": [
        {
            "status": "record_not_found",
            "message": "The record could not be found",
            "field": None,
        }
    ],
}
ADA = {"email": "ada@example.com", "external_id": "u-1", "properties[plan]": "pro"}


INVALID = "{} does not have a valid value"
RECORDED = Behaviour(survey_reply="record")


class Clock:
    """Unix seconds that pass when told to."""

    def __init__(self, now: float = 1_533_310_126.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Client:
    """Wootric's API over HTTP; a new connection for each request, nothing is repeated."""

    session: aiohttp.ClientSession
    url: str
    token: str | None = None

    async def call(self, method: str, path: str, form: Any = None, **more: Any) -> Any:
        """Return status, headers and JSON (None for an empty body) of one request."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with self.session.request(
            method, self.url + path, data=form, headers=headers, **more
        ) as reply:
            body = await reply.read()
            is_json = body and reply.content_type == "application/json"
            return reply.status, reply.headers, (await reply.json() if is_json else body or None)

    async def ok(self, method: str, path: str, form: Any = None) -> Any:
        """Return the JSON of a request that must succeed."""
        status, _, document = await self.call(method, path, form)
        assert status in {200, 201, 202}, document
        return document

    async def refused(self, method: str, path: str, form: Any = None) -> tuple[int, Any]:
        """Return status and JSON of a request that must not succeed."""
        status, _, document = await self.call(method, path, form)
        assert status >= 400
        return status, document

    async def sign_in(self) -> None:
        form = {"grant_type": "client_credentials", "client_id": "id", "client_secret": "s"}
        self.token = (await self.ok("POST", "/oauth/token", form))["access_token"]


@asynccontextmanager
async def wootric(behaviour: Behaviour | None = None, **more: Any) -> AsyncIterator[Any]:
    """Yield a running emulator and a client that is signed in."""
    async with (
        Emulator(behaviour, **more) as emulator,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            timeout=aiohttp.ClientTimeout(total=STILL_S),
        ) as session,
    ):
        session._retry_connection = False  # else a GET whose reply is lost is sent twice
        client = Client(session, emulator.url)
        await client.sign_in()
        yield emulator, client


def kinds(emulator: Emulator) -> list[str]:
    return [effect.kind for effect in emulator.state.effects]


# ── end users ──────────────────────────────────────────────────────────────────────────


async def test_created_end_user_has_wootrics_fields() -> None:
    """Times are text in the account's zone, external_created_at is a number."""
    async with wootric(clock=Clock()) as (_, client):
        form = {**ADA, "external_created_at": "1533310127", "properties[seats_amount]": "5"}
        status, _, user = await client.call("POST", "/v1/end_users", form)
        assert status == 201
        assert user["created_at"] == user["updated_at"] == "2018-08-03 08:28:46 -0700"
        assert user["external_created_at"] == 1533310127
        assert user["properties"] == {"plan": "pro", "seats_amount": 5}
        assert (user["email"], user["external_id"]) == ("ada@example.com", "u-1")
        assert user["last_surveyed"] is None


async def test_parameters_may_come_in_the_query() -> None:
    """Wootric's own clients put a POST's parameters into the query."""
    async with wootric() as (_, client):
        path = "/v1/end_users?email=a%2Bb%40example.com&properties%5Bcity%5D=New+Reno%21"
        user = await client.ok("POST", path)
        assert user["email"] == "a+b@example.com"
        assert user["properties"] == {"city": "New Reno!"}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/end_users/{id}",
        "/v1/end_users/u%2F1?lookup_by_external_id=true",
        "/v1/end_users/ada%40example.com?lookup_by_email=true",
        "/v1/end_users/ada%40example.com",
        "/v1/end_users/phone_number/+14155550100",
        "/v1/end_users/phone_number/{id}",
    ],
)
async def test_end_user_is_found_by(path: str) -> None:
    """By id, external id with its flag, e-mail in both forms, phone number with its plus."""
    async with wootric() as (_, client):
        form = {**ADA, "external_id": "u/1", "phone_number": "+14155550100"}
        user = await client.ok("POST", "/v1/end_users", form)
        found = await client.ok("GET", path.format(id=user["id"]).replace("+", "%2B"))
        assert found["id"] == user["id"]


async def test_digits_are_an_id_unless_a_flag_says_otherwise() -> None:
    async with wootric() as (_, client):
        user = await client.ok("POST", "/v1/end_users", {"email": "a@x.io", "external_id": "777"})
        assert await client.refused("GET", "/v1/end_users/777") == (404, NOT_FOUND)
        found = await client.ok("GET", "/v1/end_users/777?lookup_by_external_id=true")
        assert found["id"] == user["id"]


@pytest.mark.parametrize(
    ("reading", "status", "body"),
    [
        ("404", 404, NOT_FOUND),
        ("list", 200, []),
        ("null", 200, None),
        ("error_list", 200, NOT_FOUND),
    ],
)
async def test_absent_end_user_is_answered_by_reading(reading: Any, status: int, body: Any) -> None:
    """A look-up that finds nobody: an error_list, or 200 and nothing in some form."""
    async with wootric(Behaviour(lookup_absent=reading)) as (_, client):
        path = "/v1/end_users/u-9?lookup_by_external_id=true"
        got, _, document = await client.call("GET", path)
        assert (got, document) == (status, body)
        assert await client.ok("GET", "/v1/end_users?email=nobody%40x.io") == []
        assert await client.refused("PUT", "/v1/end_users/9", ADA) == (404, NOT_FOUND)


@pytest.mark.parametrize(
    ("reading", "left"),
    [("merge", {"plan": "pro", "city": "Bern"}), ("replace", {"city": "Bern"})],
)
async def test_put_merges_or_replaces_properties(reading: Any, left: dict[str, str]) -> None:
    async with wootric(Behaviour(put_properties=reading)) as (_, client):
        user = await client.ok("POST", "/v1/end_users", ADA)
        path = f"/v1/end_users/{user['id']}"
        changed = await client.ok("PUT", path, {"properties[city]": "Bern"})
        assert changed["properties"] == left
        unchanged = await client.ok("PUT", path, {"external_created_at": "1"})
        assert unchanged["properties"] == left


async def test_updated_end_user_is_found_by_the_new_email_only() -> None:
    async with wootric() as (_, client):
        user = await client.ok("POST", "/v1/end_users", ADA)
        await client.ok("PUT", f"/v1/end_users/{user['id']}", {"email": "new@x.io"})
        path = "/v1/end_users/{}?lookup_by_email=true"
        old, new = path.format("ada%40example.com"), path.format("new%40x.io")
        assert await client.refused("GET", old) == (404, NOT_FOUND)
        assert (await client.ok("GET", new))["id"] == user["id"]


@pytest.mark.parametrize("status", [400, 409, 422])
async def test_taken_email_is_refused_with_the_chosen_status(status: Any) -> None:
    """On create and on update; one's own e-mail is not taken."""
    async with wootric(Behaviour(email_taken_status=status)) as (emulator, client):
        ada = await client.ok("POST", "/v1/end_users", ADA)
        bob = await client.ok("POST", "/v1/end_users", {"email": "bob@x.io"})
        taken = {"error": "Validation failed: Email has already been taken"}
        form = {"email": "ada@example.com"}
        assert await client.refused("POST", "/v1/end_users", form) == (status, taken)
        assert await client.refused("PUT", f"/v1/end_users/{bob['id']}", form) == (status, taken)
        await client.ok("PUT", f"/v1/end_users/{ada['id']}", form)
        assert kinds(emulator) == ["create_end_user", "create_end_user", "update_end_user"]


async def test_duplicate_external_id_is_refused_only_if_so_switched() -> None:
    async with wootric() as (emulator, client):
        first = await client.ok("POST", "/v1/end_users", {"external_id": "u-1"})
        await client.ok("POST", "/v1/end_users", {"external_id": "u-1"})
        found = await client.ok("GET", "/v1/end_users/u-1?lookup_by_external_id=1")
        assert found["id"] == first["id"]
        emulator.behaviour = replace(emulator.behaviour, duplicate_external_id="refuse")
        assert (await client.refused("POST", "/v1/end_users", {"external_id": "u-1"}))[0] == 400


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({}, "email is missing"),
        ({"email": ""}, "email is missing"),
        ({**ADA, "properties[x_date]": "soon"}, "properties[x_date] does not have a valid value"),
        (
            {**ADA, "properties[a_amount]": "1.5"},
            "properties[a_amount] does not have a valid value",
        ),
        ({**ADA, "properties[a][b]": "1"}, "properties must not be nested"),
        ({**ADA, "properties[a][]": "1"}, "properties must not be nested"),
        ({**ADA, "properties[a.b]": "1"}, "properties does not have a valid value"),
        ({**ADA, "properties[$a]": "1"}, "properties does not have a valid value"),
        ({"email": "a@x.io", "properties": "1"}, "properties does not have a valid value"),
        ({**ADA, "properties": "1"}, "properties is both a value and a hash"),
    ],
)
async def test_bad_end_user_is_refused_without_effect(form: Any, message: str) -> None:
    async with wootric() as (emulator, client):
        pairs = sorted(form.items())
        status, document = await client.refused("POST", "/v1/end_users", pairs)
        assert (status, document) == (400, {"errors": [{"message": message}]})
        assert emulator.state.effects == []


async def test_external_id_alone_is_refused_if_so_switched() -> None:
    async with wootric(Behaviour(external_id_suffices=False)) as (_, client):
        assert (await client.refused("POST", "/v1/end_users", {"external_id": "u"}))[0] == 400


async def test_deleted_end_user_is_gone() -> None:
    """By id or e-mail; the reply shows who it was; the e-mail is free again."""
    async with wootric(Behaviour(delete_delay_s=0.0)) as (emulator, client):
        await client.ok("POST", "/v1/end_users", ADA)
        status, _, shown = await client.call("DELETE", "/v1/end_users/ada%40example.com")
        assert status == 202
        assert shown["email"] == "ada@example.com"
        assert emulator.state.end_users == {}
        again = await client.ok("POST", "/v1/end_users", ADA)
        await client.ok("DELETE", f"/v1/end_users/{again['id']}")
        assert await client.refused("DELETE", f"/v1/end_users/{again['id']}") == (404, NOT_FOUND)


async def test_lists_are_paged_sorted_and_filtered_by_time() -> None:
    clock = Clock(1000)
    async with wootric(Behaviour(list_shows="all"), clock=clock) as (emulator, client):
        for number in range(60):
            clock.now = 1000 + number
            await client.ok("POST", "/v1/end_users", {"email": f"{number:02}@x.io"})

        async def emails(query: str) -> list[str]:
            users = await client.ok("GET", f"/v1/end_users?{query}")
            return [user["email"][:2] for user in users]

        assert await emails("per_page=50&page=2") == [str(n) for n in range(50, 60)]
        assert await emails("sort_key=created_at&sort_order=desc&per_page=2") == ["59", "58"]
        assert await emails("sort_order=asc&per_page=1&page=3") == ["02"]
        assert len(await emails("")) == 25
        assert await emails("created[gte]=1010&created[lt]=1012&sort_order=asc") == ["10", "11"]
        error = {"errors": [{"message": "created[gt] is invalid"}]}
        wrong = "/v1/end_users?created[gt]=2026-01-01"
        assert await client.refused("GET", wrong) == (400, error)
        assert await emails("page=31") == []
        emulator.behaviour = replace(emulator.behaviour, page_beyond="400")
        for wrong in ("page=0", "page=31", "per_page=51", "page=x", "sort_order=up"):
            name = wrong.partition("=")[0]
            error = {"errors": [{"message": f"{name} does not have a valid value"}]}
            assert await client.refused("GET", f"/v1/end_users?{wrong}") == (400, error)


# ── what public recordings of the live service show ────────────────────────────────────


async def test_a_survey_is_queued_and_listed_later() -> None:
    """With its properties; the reply has no body. It is held from the first moment."""
    clock = Clock()
    async with wootric(Behaviour(survey_delay_s=3.0), clock=clock) as (emulator, client):
        user = await client.ok("POST", "/v1/end_users", ADA)
        path = f"/v1/end_users/{user['id']}/responses"
        form = {"score": "9", "end_user[properties][plan]": "free"}
        status, _, body = await client.call("POST", path, form)
        assert (status, body) == (201, None)
        assert len(emulator.state.responses) == 1
        clock.now += 1.0
        assert await client.ok("GET", path) == []
        shown = await client.ok("GET", f"/v1/end_users/{user['id']}")
        assert (shown["last_response"], shown["properties"]) == (None, {"plan": "pro"})
        clock.now += 2.0
        assert len(await client.ok("GET", path)) == 1
        shown = await client.ok("GET", f"/v1/end_users/{user['id']}")
        assert (shown["last_response"]["score"], shown["properties"]) == (9, {"plan": "free"})


@pytest.mark.parametrize(("reading", "surveys"), [("merge", 2), ("ignore", 3)])
async def test_a_unique_link_merges_repetitions_if_so_switched(reading: Any, surveys: int) -> None:
    async with wootric(Behaviour(unique_link=reading)) as (emulator, client):
        user = await client.ok("POST", "/v1/end_users", ADA)
        path = f"/v1/end_users/{user['id']}/responses"
        for link in ("a", "a", "b"):
            form = {"score": "9", "survey[unique_link]": link}
            assert (await client.call("POST", path, form))[0] == 201
        assert len(emulator.state.responses) == surveys


async def test_a_list_hides_who_was_never_surveyed() -> None:
    async with wootric(Behaviour(survey_delay_s=0.0)) as (_, client):
        user = await client.ok("POST", "/v1/end_users", ADA)
        listed = "/v1/end_users?email=ada%40example.com"
        assert await client.ok("GET", listed) == await client.ok("GET", "/v1/end_users") == []
        alone = "/v1/end_users/ada%40example.com?lookup_by_email=true"
        assert (await client.ok("GET", alone))["id"] == user["id"]
        await client.call("POST", f"/v1/end_users/{user['id']}/responses", {"score": "1"})
        assert [one["id"] for one in await client.ok("GET", listed)] == [user["id"]]


async def test_typed_properties_are_kept_if_so_switched() -> None:
    async with wootric(Behaviour(typed_properties="keep")) as (_, client):
        user = await client.ok("POST", "/v1/end_users", {**ADA, "properties[x_date]": "soon"})
        assert user["properties"] == {"plan": "pro", "x_date": "soon"}


async def test_a_deletion_takes_a_day() -> None:
    """Until then the end user is found and changed, and what is changed goes as well."""
    clock = Clock()
    async with wootric(clock=clock) as (emulator, client):
        user = await client.ok("POST", "/v1/end_users", ADA)
        path = f"/v1/end_users/{user['id']}"
        for _ in range(2):
            assert (await client.call("DELETE", path))[0] == 202
        assert kinds(emulator) == ["create_end_user", "delete_end_user"]
        assert (await client.ok("PUT", path, {"properties[plan]": "free"}))["id"] == user["id"]
        assert (await client.refused("POST", "/v1/end_users", ADA))[0] == 400
        assert emulator.state.end_users == {}
        clock.now += 86_400
        await client.sign_in()
        assert await client.refused("GET", path) == (404, NOT_FOUND)
        assert (await client.ok("POST", "/v1/end_users", ADA))["id"] != user["id"]


async def test_a_write_is_answered_as_in_2015_if_so_switched() -> None:
    async with wootric(Behaviour(write_reply="2015"), clock=Clock()) as (_, client):
        user = await client.ok("POST", "/v1/end_users", ADA)
        assert user["created_at"] == "2018-08-03T08:28:46.000-07:00"
        assert user["properties"] == "'plan'=>'pro'"
        assert "external_id" not in user


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (1_772_963_999, "2026-03-08 01:59:59 -0800"),
        (1_772_964_000, "2026-03-08 03:00:00 -0700"),
        (1_793_523_599, "2026-11-01 01:59:59 -0700"),
        (1_793_523_600, "2026-11-01 01:00:00 -0800"),
    ],
)
def test_times_follow_pacific_summer_time(at: int, shown: str) -> None:
    assert time_text(at) == shown


# ── responses, declines, the pixel ─────────────────────────────────────────────────────


async def test_response_is_recorded_with_the_given_time() -> None:
    async with wootric(RECORDED) as (emulator, client):
        user = await client.ok("POST", "/v1/end_users", ADA)
        path = f"/v1/end_users/{user['id']}/responses"
        form = {"score": "0", "text": "no", "created_at": "1533310126", "ip_address": "::1"}
        status, _, answer = await client.call(
            "POST", path, {**form, "end_user[properties][city]": "Bern"}
        )
        assert status == 201
        assert (answer["score"], answer["text"]) == (0, "no")
        assert answer["created_at"] == "2018-08-03 08:28:46 -0700"
        city = {"email": "ada@example.com", "properties": {"city": "Bern"}}
        assert answer["end_user"] == city
        assert "user_id" not in answer
        assert await client.ok("GET", path) == [answer]
        assert await client.ok("GET", "/v1/responses") == [answer]
        assert await client.ok("GET", f"{path}/{answer['id']}") == answer
        shown = await client.ok("GET", f"/v1/end_users/{user['id']}")
        assert shown["last_response"]["id"] == answer["id"]
        assert shown["properties"] == {"city": "Bern"}
        assert kinds(emulator) == ["create_end_user", "create_response"]


@pytest.mark.parametrize("score", ["11", "-1", "7.5", "ten", "", None])
async def test_score_outside_zero_to_ten_is_refused(score: str | None) -> None:
    async with wootric() as (emulator, client):
        user = await client.ok("POST", "/v1/end_users", ADA)
        form = {"text": "x"} if score is None else {"score": score}
        status, _ = await client.refused("POST", f"/v1/end_users/{user['id']}/responses", form)
        assert status == 400
        assert emulator.state.responses == {}


async def test_response_in_milliseconds_is_refused() -> None:
    """A created_at far beyond any date is an error, not a year 50557."""
    async with wootric() as (_, client):
        user = await client.ok("POST", "/v1/end_users", ADA)
        form = {"score": "1", "created_at": "1533310126493"}
        path = f"/v1/end_users/{user['id']}/responses"
        assert (await client.refused("POST", path, form))[0] == 400


async def test_decline_shows_its_origin() -> None:
    async with wootric(RECORDED) as (_, client):
        user = await client.ok("POST", "/v1/end_users", ADA)
        path = f"/v1/end_users/{user['id']}/declines"
        form = {"origin_url": "https://x.io/a?b=c", "created_at": "1533310126"}
        decline = await client.ok("POST", path, form)
        (listed,) = await client.ok("GET", path)
        assert listed["origin_url"] == "https://x.io/a?b=c"
        assert listed["created_at"] == "2018-08-03 08:28:46 -0700"
        assert await client.ok("GET", f"{path}/{decline['id']}") == listed == decline
        assert await client.ok("GET", "/v1/declines") == [listed]
        assert await client.refused("POST", "/v1/end_users/99/declines", form) == (404, NOT_FOUND)


async def test_pixel_is_a_gif_and_records_what_it_was_given() -> None:
    """Without any token; parameters that are absent stay None."""
    async with wootric() as (emulator, client):
        client.token = None
        url = quote("https://x.io/a?b=ü", safe="-_.!~*'()")
        path = f"/pixel.gif?account_token=NPS-1&email=a%40x.io&url={url}&random=0.5"
        status, headers, body = await client.call("GET", path)
        assert (status, headers["Content-Type"], body[:6]) == (200, "image/gif", b"GIF89a")
        (view,) = emulator.state.page_views
        assert (view.account_token, view.email, view.created_at) == ("NPS-1", "a@x.io", None)
        assert (view.url, view.random) == ("https://x.io/a?b=ü", "0.5")


# ── tokens, limits ─────────────────────────────────────────────────────────────────────


async def test_api_without_a_good_token_is_401() -> None:
    """None, a wrong one, an expired one, a revoked one."""
    clock = Clock()
    async with wootric(Behaviour(expires_in_s=60), clock=clock) as (emulator, client):
        good = client.token
        for token in (None, "wrong"):
            client.token = token
            assert (await client.refused("GET", "/v1/end_users"))[0] == 401
        client.token = good
        assert await client.ok("GET", "/v1/end_users") == []
        clock.now += 60
        assert (await client.refused("GET", "/v1/end_users"))[0] == 401
        await client.sign_in()
        assert await client.ok("GET", "/v1/end_users") == []
        emulator.revoke_tokens()
        assert (await client.refused("GET", "/v1/end_users"))[0] == 401


async def test_password_grant_gives_a_refresh_token_that_works_once() -> None:
    async with wootric(Behaviour(username="u", password="p")) as (_, client):
        form = {"grant_type": "password", "username": "u", "password": "p"}
        granted = await client.ok("POST", "/oauth/token?account_token=NPS-1", form)
        assert (granted["token_type"], granted["expires_in"]) == ("Bearer", 7200)
        refresh = {"grant_type": "refresh_token", "refresh_token": granted["refresh_token"]}
        renewed = await client.ok("POST", "/oauth/token", refresh)
        assert renewed["access_token"] != granted["access_token"]
        refused = await client.refused("POST", "/oauth/token", refresh)
        assert refused == (400, {"error": "invalid_grant"})


async def test_client_credentials_have_no_refresh_token_and_may_be_multipart() -> None:
    async with wootric() as (_, client):
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("grant_type", "client_credentials")
        form.add_field("client_id", "id")
        granted = await client.ok("POST", "/oauth/token", form)
        assert "refresh_token" not in granted


@pytest.mark.parametrize(
    ("form", "refusal"),
    [
        ({"grant_type": "client_credentials", "client_id": "id"}, (401, "invalid_client")),
        ({"grant_type": "client_credentials", "client_secret": "s"}, (401, "invalid_client")),
        ({"grant_type": "password", "username": "u"}, (400, "invalid_grant")),
        ({"grant_type": "magic"}, (400, "unsupported_grant_type")),
        ({}, (400, "unsupported_grant_type")),
    ],
)
async def test_wrong_credentials_are_refused(form: Any, refusal: tuple[int, str]) -> None:
    async with wootric(Behaviour(client_id="id", client_secret="s")) as (_, client):
        status, document = await client.refused("POST", "/oauth/token", form)
        assert (status, document["error"]) == refusal


async def test_wrong_account_token_is_refused() -> None:
    async with wootric(Behaviour(account_token="NPS-1")) as (_, client):
        form = {"grant_type": "client_credentials", "client_id": "id"}
        assert (await client.refused("POST", "/oauth/token?account_token=NPS-2", form))[0] == 401
        await client.ok("POST", "/oauth/token?account_token=NPS-1", form)


async def test_rate_limit_counts_down_refuses_and_begins_again() -> None:
    """Its headers are on every limited reply; the pixel is not limited."""
    clock = Clock(600)
    async with wootric(Behaviour(rate_limit_per_minute=2), clock=clock) as (_, client):
        seen = []
        for _ in range(3):
            status, headers, _body = await client.call("GET", "/v1/end_users")
            names = ("X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset")
            seen.append((status, *(headers[name] for name in names)))
        assert seen == [
            (200, "2", "1", "660"),
            (200, "2", "0", "660"),
            (429, "2", "0", "660"),
        ]
        status, headers, _body = await client.call("GET", "/pixel.gif")
        assert status == 200
        assert "X-Rate-Limit-Limit" not in headers
        clock.now = 660
        assert await client.ok("GET", "/v1/end_users") == []


async def test_regional_hosts_serve_the_same_below_api() -> None:
    async with wootric() as (emulator, client):
        user = await client.ok("POST", "/api/v1/end_users", ADA)
        assert (await client.ok("GET", f"/v1/end_users/{user['id']}"))["email"] == ADA["email"]
        assert emulator.journal.entries[1].path == "/api/v1/end_users"


@pytest.mark.parametrize("path", ["/v1/segments/x", "/v1/end_users/", "/", "/v1/end_users/1/x"])
async def test_unknown_path_is_404_and_counted_together(path: str) -> None:
    async with wootric() as (emulator, client):
        assert (await client.refused("GET", path))[0] == 404
        assert emulator.journal.counters["GET", "other", 404] == 1


NAMES = [
    "email",
    "external_id",
    "phone_number",
    "properties",
    "properties[a]",
    "properties[a_date]",
    "properties[]",
    "end_user",
    "end_user[properties][b]",
    "score",
    "created_at",
    "last_surveyed",
    "page",
    "per_page",
    "sort_key",
    "created[lt]",
    "created[x]",
    "updated",
    "lookup_by_email",
    "a[b",
    "a]b",
    "[",
    "[]",
    "grant_type",
    "client_id",
]
PARTS = ["v1", "end_users", "responses", "declines", "phone_number", "1", "2", "+1", "a%40b", ""]
PAIRS = st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=5) | st.just("1")), max_size=5)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    parts=st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=6),
    query=PAIRS.map(urlencode),
    form=PAIRS.map(urlencode),
)
def test_every_call_has_a_reply(method: str, parts: list[str], query: str, form: str) -> None:
    """Whatever is sent, it is answered by a status below 500 and never by an exception."""
    api = Api(Behaviour(), Clock())
    granted = api.tokens.grant({"grant_type": "client_credentials", "client_id": "id"}, Behaviour())
    authorization = f"Bearer {granted['access_token']}"
    api.answer(Call("POST", "/v1/end_users", form="email=a%40b", authorization=authorization))
    for path in ("/" + "/".join(parts), "/v1/end_users/1", "/v1/end_users", "/pixel.gif"):
        call = Call(method, path, query, form, authorization)
        assert 200 <= api.answer(call).status < 500


# ── faults ─────────────────────────────────────────────────────────────────────────────


async def test_fault_is_met_once_in_order_then_the_truth() -> None:
    async with wootric() as (emulator, client):
        emulator.on("POST", "/v1/end_users", Answer(status=500, body="{}", headers={"X-A": "1"}))
        emulator.on("POST", "/v1/end_users", Answer(status=503))
        status, headers, _ = await client.call("POST", "/v1/end_users", ADA)
        assert (status, headers["X-A"]) == (500, "1")
        assert (await client.refused("POST", "/v1/end_users", ADA))[0] == 503
        assert emulator.state.effects == []
        await client.ok("POST", "/v1/end_users", ADA)
        assert emulator.unused_faults() == []


async def test_answer_after_the_effect_hides_it() -> None:
    async with wootric() as (emulator, client):
        emulator.on("POST", "/v1/end_users", Answer(status=502, effect=True))
        assert (await client.refused("POST", "/v1/end_users", ADA))[0] == 502
        assert kinds(emulator) == ["create_end_user"]


@pytest.mark.parametrize(("effect", "expected"), [(False, []), (True, ["create_end_user"])])
async def test_dropped_connection_has_the_effect_that_was_ordered(
    effect: bool, expected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The client sees the connection end; the journal says dropped; nobody logs an error."""
    async with wootric() as (emulator, client):
        emulator.on("POST", "/v1/end_users", Drop(effect=effect))
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.call("POST", "/v1/end_users", ADA)
        assert kinds(emulator) == expected
        assert emulator.journal.entries[-1].status == "dropped"
        assert emulator.journal.counters["POST", "/v1/end_users", "dropped"] == 1
        await client.call("GET", "/v1/end_users")
    assert caplog.records == []


async def test_late_effect_comes_after_the_connection_ended() -> None:
    async with wootric() as (emulator, client):
        emulator.on("POST", "/v1/end_users", LateEffect(after_s=float(stretched(1))))
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.call("POST", "/v1/end_users", ADA)
        assert kinds(emulator) == []
        await until(lambda: emulator.state.effects, "the effect comes")
        assert emulator.journal.entries[-1].effect == emulator.state.effects[0]


async def test_the_queue_counts_from_the_arrival_of_a_request() -> None:
    """While the emulator stands still, Wootric would not: the wait in the socket counts."""
    async with wootric(Behaviour(survey_delay_s=1.0)) as (emulator, client):
        user = await client.ok("POST", "/v1/end_users", ADA)
        path = f"/v1/end_users/{user['id']}/responses"
        headers = {
            "Authorization": f"Bearer {client.token}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        with closing(HTTPConnection(URL(emulator.url).authority)) as connection:
            connection.request("POST", path, "score=9", headers)
            time.sleep(1.2)
            await until(lambda: emulator.state.responses, "the response is held")
        assert len(await client.ok("GET", path)) == 1


async def test_effect_happens_although_the_client_has_given_up() -> None:
    """A delay before the effect outlives the client's patience."""
    async with wootric() as (emulator, client):
        emulator.on("POST", "/v1/end_users", Delay(before_s=0.1))
        before = len(emulator.journal.entries)
        request = asyncio.create_task(client.call("POST", "/v1/end_users", ADA))
        await as_soon_as(lambda: len(emulator.journal.entries) > before, "it has arrived")
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert kinds(emulator) == []
        await until(lambda: emulator.state.effects, "the effect comes")


async def test_truncated_reply_is_announced_whole_and_ends_early() -> None:
    async with wootric() as (emulator, client):
        emulator.on("POST", "/v1/end_users", Truncate(keep_bytes=5))
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.call("POST", "/v1/end_users", ADA)
        assert kinds(emulator) == ["create_end_user"]


async def test_fault_fits_method_and_pattern_as_often_as_ordered() -> None:
    """{id} is one part of a path, * any number; what was not met is listed."""
    async with wootric() as (emulator, client):
        user = await client.ok("POST", "/v1/end_users", ADA)
        path = f"/v1/end_users/{user['id']}"
        emulator.on("*", "/v1/end_users/{id}", Answer(status=500), times=2)
        emulator.on("GET", "/v1/*", Answer(status=503), always=True)
        emulator.on("DELETE", "*", Answer(status=500))
        assert (await client.refused("PUT", path, ADA))[0] == 500
        assert len(emulator.unused_faults()) == 3
        assert (await client.refused("GET", path))[0] == 500
        for _ in range(3):
            assert (await client.refused("GET", f"{path}/responses"))[0] == 503
        await client.ok("PUT", path, ADA)
        (unused,) = emulator.unused_faults()
        assert (unused.method, unused.path) == ("DELETE", "*")


@pytest.mark.parametrize(("fault", "effects"), [(LostReplies, 40), (LostRequests, 15)])
async def test_random_faults_are_the_same_for_the_same_seed(fault: Any, effects: int) -> None:
    """A lost reply leaves the effect, a lost request does not; look-ups are spared."""
    lost = []
    for _ in range(2):
        async with wootric() as (emulator, client):
            emulator.at_random(fault(probability=0.5, seed=7))
            for number in range(40):
                try:
                    await client.ok("POST", "/v1/end_users", {"email": f"{number}@x.io"})
                except aiohttp.ClientConnectionError:
                    lost.append(number)
                await client.ok("GET", "/v1/end_users")
            assert len(emulator.state.end_users) == effects
    assert lost[: len(lost) // 2] == lost[len(lost) // 2 :]
    assert len(lost) // 2 == 25


async def test_random_faults_hit_the_pixel_and_on_request_look_ups_never_tokens() -> None:
    async with wootric() as (emulator, client):
        emulator.at_random(LostReplies(probability=1.0, seed=1, lookups=True))
        for path in ("/pixel.gif", "/v1/end_users"):
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.call("GET", path)
        await client.sign_in()
        assert kinds(emulator) == ["page_view"]


# ── the journal and the controls ───────────────────────────────────────────────────────


async def test_journal_tells_every_request_and_no_secret() -> None:
    async with wootric() as (emulator, client):
        form = {"grant_type": "password", "username": "me", "password": "hush"}
        await client.ok("POST", "/oauth/token?account_token=NPS-1", form)
        user = await client.ok("POST", "/v1/end_users?access_token=hush", ADA)
        first, second, third = emulator.journal.entries
        assert [entry.seq for entry in (first, second, third)] == [1, 2, 3]
        assert second.form == "grant_type=password&username=***&password=***"
        assert second.query == "account_token=NPS-1"
        assert third.query == "access_token=***"
        assert third.parameters["properties"] == {"plan": "pro"}
        assert (third.status, third.duration_s > 0) == (201, True)
        assert third.effect is not None
        assert (third.effect.kind, third.effect.id) == ("create_end_user", user["id"])
        assert third.effect.fields["external_id"] == "u-1"
        assert "hush" not in repr(emulator.journal.entries)
        assert client.token not in repr(emulator.journal.entries)


async def test_journal_can_be_left_out_but_not_effects_and_counters() -> None:
    async with wootric(journal=False) as (emulator, client):
        await client.ok("POST", "/v1/end_users", ADA)
        assert emulator.journal.entries == []
        assert emulator.journal.counters["POST", "/v1/end_users", 201] == 1
        assert kinds(emulator) == ["create_end_user"]


async def test_another_process_can_look_and_order() -> None:
    """State, journal, effects, faults, behaviour and reset over HTTP, without a token."""
    async with wootric() as (emulator, client):
        await client.ok("POST", "/v1/end_users", ADA)
        await client.call("GET", "/pixel.gif?email=a%40x.io")
        client.token, token = None, client.token
        state = await client.ok("GET", "/_emulator/state")
        assert [user["email"] for user in state["end_users"]] == ["ada@example.com"]
        assert [view["email"] for view in state["page_views"]] == ["a@x.io"]
        created = {"method": "POST", "route": "/v1/end_users", "status": 201, "count": 1}
        assert created in state["counters"]
        (last,) = await client.ok("GET", "/_emulator/journal?from=3")
        assert (last["path"], last["effect"]["kind"]) == ("/pixel.gif", "page_view")
        assert len(await client.ok("GET", "/_emulator/effects")) == 2

        fault = {"type": "answer", "status": 503, "headers": {"A": "b"}}
        document = {
            "faults": [{"method": "GET", "path": "/v1/*", "fault": fault, "times": 1}],
            "random": [{"type": "lost_requests", "probability": 1.0, "seed": 1}],
            "behaviour": {"put_properties": "replace"},
        }
        _, _, ordered = await client.call("POST", "/_emulator/faults", json=document)
        assert len(ordered["unused"]) == 1
        assert emulator.behaviour.put_properties == "replace"
        client.token = token
        assert (await client.refused("GET", "/v1/end_users"))[0] == 503
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.call("POST", "/v1/end_users", {"email": "b@x.io"})

        await client.ok("POST", "/_emulator/reset")
        assert emulator.state.end_users == {}
        assert emulator.behaviour == Behaviour()
        assert (await client.refused("GET", "/v1/end_users"))[0] == 401


@pytest.mark.parametrize(
    "document",
    [
        {"fault": []},
        {"behaviour": {"put_property": "merge"}},
        {"behaviour": {"put_properties": "both"}},
        {"faults": [{"method": "GET", "path": "*", "fault": {"type": "magic"}}]},
        {"faults": [{"method": "GET", "fault": {"type": "drop"}}]},
        {"random": [{"type": "lost_replies", "probability": 1.0}]},
        [],
    ],
)
async def test_wrong_order_is_refused_and_changes_nothing(document: Any) -> None:
    async with wootric() as (emulator, client):
        status, _, _ = await client.call("POST", "/_emulator/faults", json=document)
        assert status == 400
        assert emulator.behaviour == Behaviour()
        assert emulator.unused_faults() == []


async def test_stopping_does_not_wait_for_a_delayed_reply() -> None:
    async with asyncio.timeout(STILL_S):
        async with wootric() as (emulator, client):
            emulator.on("GET", "/v1/end_users", Delay(before_s=3600))
            request = asyncio.create_task(client.call("GET", "/v1/end_users"))
            await as_soon_as(lambda: len(emulator.journal.entries) == 2, "it has arrived")
            await emulator.stop()
            with pytest.raises(aiohttp.ClientConnectionError):
                await request


async def test_serve_says_where_it_is_and_stops_on_sigterm() -> None:
    """One line on stderr with the address, nothing on stdout, exit 0."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from stream.devtools.wootric_emulator import serve; serve(0)",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(STILL_S):
            line = (await process.stderr.readline()).decode()
        url = line.split()[-1]
        async with aiohttp.ClientSession() as session, session.get(f"{url}/pixel.gif") as reply:
            assert reply.status == 200
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STILL_S):
            stdout, rest = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, stdout, rest) == (0, b"", b"")
