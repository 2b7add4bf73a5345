"""The benchmark's server: it is built, it is a Wootric, and it sees what comes out of order."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from urllib.parse import quote

import aiohttp
import pytest

from stream.devtools.wootric_emulator import Behaviour, Emulator
from stream.errors import StartupError
from tests.bench import native
from tests.bench.native import Native, program, served
from tests.bench.traces import Trace, encoded, realistic

pytestmark = pytest.mark.slow  # Go has to build it

AUTHORIZED = {"Authorization": "Bearer bench"}


@pytest.fixture
def server() -> Iterator[Native]:
    with served() as server:
        yield server


async def view(session: aiohttp.ClientSession, server: Native, user: str, number: int) -> None:
    page = quote(f"https://app.example.com/?bench={number:010d}", safe="")
    async with session.get(f"{server.pixel_url}?email={quote(user)}&url={page}") as reply:
        assert (reply.status, reply.content_type) == (200, "image/gif")
        await reply.read()


async def test_what_goes_down_within_a_user_is_a_violation_and_what_comes_again_a_duplicate(server):
    async with aiohttp.ClientSession() as session:
        for user, number in (("a@b.c", 1), ("d@e.f", 7), ("a@b.c", 2), ("d@e.f", 8)):
            await view(session, server, user, number)
        assert (server.counts()["order_violations"], server.counts()["duplicates"]) == (0, 0)
        await view(session, server, "a@b.c", 4)
        await view(session, server, "a@b.c", 3)
        await view(session, server, "d@e.f", 8)
    counts = server.counts()
    assert (counts["order_violations"], counts["duplicates"]) == (1, 1)
    assert (counts["requests"], counts["by_operation"]) == (7, {"page_view": 7})


async def test_an_older_profile_after_a_newer_one_is_a_violation_and_the_same_again_is_none(server):
    users = f"{server.url}/v1/end_users"
    async with aiohttp.ClientSession(headers=AUTHORIZED) as session:
        created = await session.post(users, data={"email": "a@b.c", "properties[bench]": "bench=1"})
        user = (await created.json())["id"]
        for number, expected in ((2, 0), (2, 0), (1, 1)):
            await session.put(f"{users}/{user}", data={"properties[bench]": f"bench={number}"})
            assert server.counts()["order_violations"] == expected
        survey = {"score": "9", "created_at": "1772438400", "origin_url": "https://a/?bench=1"}
        await session.post(f"{users}/{user}/responses", data=survey)
    assert server.counts()["order_violations"] == 2


async def test_it_answers_as_the_emulator_does(server):
    """What the service reads of an answer, on the same calls. Nothing waits in a queue there."""
    at_once = Behaviour(survey_reply="record", list_shows="all", delete_delay_s=0)
    async with Emulator(at_once) as emulator, aiohttp.ClientSession() as session:
        theirs, ours = [await story(session, url) for url in (emulator.url, server.url)]
    assert ours == theirs


async def story(session: aiohttp.ClientSession, url: str) -> list[object]:
    credentials = {"client_id": "c", "client_secret": "s", "grant_type": "client_credentials"}
    async with session.post(f"{url}/oauth/token", data=credentials) as reply:
        token = (await reply.json())["access_token"]
    person = {"email": "a@b.c", "external_id": "u/1", "properties[plan]": "team"}
    other = {"email": "d@e.f", "external_id": "u2", "external_created_at": "1533310127"}
    survey = {"score": "9", "created_at": "1772438400", "text": "fine", "ip_address": "203.0.113.1"}
    calls = (
        ("GET", "/end_users/u%2F1?lookup_by_external_id=true", None),
        ("POST", "/end_users", person),
        ("POST", "/end_users", {"email": "a@b.c"}),
        ("POST", "/end_users", other),
        ("GET", "/end_users?email=a%40b.c", None),
        ("GET", "/end_users?email=nobody%40b.c", None),
        ("GET", "/end_users/u%2F1?lookup_by_external_id=true", None),
        ("PUT", "/end_users/1", {"properties[plan]": "free", "phone_number": "+49301234567"}),
        ("GET", "/end_users/phone_number/+49301234567", None),
        ("PUT", "/end_users/2", {"email": "a@b.c"}),
        ("POST", "/end_users/1/responses", survey),
        ("POST", "/end_users/1/declines", {"created_at": "1772438401"}),
        ("GET", "/end_users/1/responses?page=1&per_page=50&sort_order=asc", None),
        ("GET", "/end_users/1/responses?page=2&per_page=50&sort_order=asc", None),
        ("DELETE", "/end_users/2", None),
        ("GET", "/end_users/2", None),
        ("PUT", "/end_users/2", {"email": "x@y.z"}),
    )
    headers = {"Authorization": f"Bearer {token}"}
    seen: list[object] = []
    for method, path, form in calls:
        async with session.request(method, f"{url}/v1{path}", data=form, headers=headers) as reply:
            seen.append((path, reply.status, read(await reply.json())))
    async with session.get(f"{url}/v1/end_users/1") as reply:
        seen.append(reply.status)
    return seen


FIELDS = ("id", "email", "external_id", "phone_number", "external_created_at", "properties")
SURVEY = ("score", "text", "ip_address", "end_user_id")


def read(value: object) -> object:
    if isinstance(value, list):
        return [read(one) for one in value]
    assert isinstance(value, dict)
    names = SURVEY if "end_user_id" in value else FIELDS
    return {name: value[name] for name in names if value.get(name) is not None} or sorted(value)


def test_a_missing_go_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartupError, match=r"no go to build .* install Go"):
        program()


def test_what_does_not_build_leaves_no_program(tmp_path, monkeypatch):
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "main.go").write_text("package main; func main() { no }")
    (tmp_path / "sources" / "go.mod").write_text("module wrong\n\ngo 1.21\n")
    monkeypatch.setattr(native, "SOURCES", tmp_path / "sources")
    monkeypatch.setattr(native, "cache", lambda: tmp_path / "cache")  # Go keeps its own
    with pytest.raises(StartupError, match="undefined: no"):
        program()
    assert not list((tmp_path / "cache").rglob("bench-wootric-*"))


def test_a_trace_comes_from_its_seed_and_its_numbers_rise_within_each_user():
    assert encoded(Trace.DISTINCT, 50) != tuple(encoded(Trace.DISTINCT, 50, seed=2))
    assert {record.partition for record in encoded(Trace.HOT, 50)} == {0}
    assert list(realistic(500, 1)) == list(realistic(500, 1)) != list(realistic(500, 2))
    last: Counter[tuple[str, str]] = Counter()
    seen: set[str] = set()
    for event in realistic(2000, 1):
        if not isinstance(event, dict) or event.get("messageId") in seen:
            continue
        seen.add(event.get("messageId", ""))
        numbers = re.findall(r"bench=(\d{10})", json.dumps(event))
        way = (event["userId"], "page" if event["type"] == "page" else "change")
        if numbers and event["type"] != "identify":
            assert int(numbers[0]) == last[way] + 1
        elif numbers:
            assert int(numbers[0]) <= last[way] + 1  # unchanged: as it was before a survey
        last[way] = max([last[way], *map(int, numbers)])
    assert len(last) > 100
