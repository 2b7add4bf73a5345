"""The probe of a real account, against Wootric under each reading of what is open."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from typing import Any

import pytest
from readings import LIKELY, READINGS, reading_name
from typer.testing import CliRunner

from sink.models import HttpResponse, NoResponse, NotSent, Request
from sink.wootric import probe as reading
from sink.wootric.auth import WootricAccount
from sink.wootric.probe import QUESTIONS, ProbePerson, Question, Seen, is_as_assumed
from sink.wootric.requests import Requests
from stream.cli.app import app
from stream.devtools.wootric_emulator import (
    Answer,
    Behaviour,
    Delay,
    Drop,
    Emulator,
    Truncate,
)
from stream.doctor import probe_command
from stream.doctor.probe import Pace, ProbeReport, new_person, probe_account

PACE = Pace(polls_s=(0.01,), listed_within_s=20.0, settle_s=0.1)
END_USERS = "/v1/end_users"
ONE = "/v1/end_users/{id}"
RESPONSES = "/v1/end_users/{id}/responses"
SECRETS = ("NPS-4aeb53c1", "the-client", "of-the-client")


def account_at(wootric: Emulator, **changes: Any) -> WootricAccount:
    return WootricAccount(
        **{
            "account_token": "NPS-4aeb53c1",
            "api_url": wootric.url,
            "pixel_url": wootric.pixel_url,
            "client_id": "the-client",
            "client_secret": "of-the-client",
            **changes,
        }
    )


async def probe(wootric: Emulator, pace: Pace = PACE, **changes: Any) -> ProbeReport:
    report = ProbeReport(new_person())
    account = account_at(wootric, **changes)
    await probe_account(account, report, say=lambda _: None, pace=pace)
    return report


def positions(report: ProbeReport) -> dict[str, str]:
    return {key: seen.position for key, seen in report.seen.items()}


def position_of(behaviour: Behaviour, key: str) -> str:
    """Return the answer that the emulator gives by a switch."""
    if key == "delete_delay_s":
        return "found" if behaviour.delete_delay_s else "absent"
    return str(getattr(behaviour, key))


SWITCHES = {one.name for one in fields(Behaviour)}
FIXED = {
    "lookup_by_email": "found",
    "survey_time": "kept",
    "pixel": "200 image/gif",
    "delete_status": "202",
    "rate_limit": "none",
}


@pytest.fixture
async def wootric() -> AsyncIterator[Emulator]:
    async with Emulator(LIKELY) as emulator:
        yield emulator


@pytest.mark.parametrize("behaviour", READINGS, ids=reading_name)
async def test_the_table_shows_the_position_of_each_switch(behaviour):
    async with Emulator(behaviour) as wootric:
        report = await probe(wootric)
        assert not wootric.state.end_users
    seen = positions(report)
    delay_s = float(seen.pop("survey_delay_s"))
    assert (0 if behaviour.survey_reply == "record" else 0.01) <= delay_s + 0.05 < 20
    expected = {
        one.key: FIXED.get(one.key) or position_of(behaviour, one.key)
        for one in QUESTIONS
        if one.key != "survey_delay_s"
    }
    assert seen == expected
    assert (report.ids, report.in_doubt, report.failure) == ([], False, "")


def test_what_is_assumed_are_the_defaults_of_the_emulator():
    switches = [one for one in QUESTIONS if one.key in SWITCHES - {"survey_delay_s"}]
    assert len(switches) == 12
    for one in switches:
        assert one.assumed == position_of(Behaviour(), one.key)


async def test_a_reply_without_a_record_and_a_later_listing(wootric):
    wootric.behaviour = LIKELY.changed({"survey_delay_s": 2.0})
    seen = positions(await probe(wootric))
    assert 0.3 < float(seen["survey_delay_s"]) < 20
    assert seen["unique_link"] == "ignore"


async def test_a_response_that_is_never_listed(wootric):
    wootric.behaviour = LIKELY.changed({"survey_delay_s": 3600.0})
    report = await probe(wootric, Pace(polls_s=(0.01,), listed_within_s=0.1, settle_s=0.0))
    assert report.seen["survey_delay_s"] == Seen("unknown", "more than 0")
    assert report.seen["list_shows"].position == "unknown"
    assert "unique_link" not in report.seen
    assert not wootric.state.end_users


async def test_the_names_of_the_headers_about_the_limit(wootric):
    wootric.behaviour = LIKELY.changed({"rate_limit_per_minute": 10_000})
    report = await probe(wootric)
    question = next(one for one in QUESTIONS if one.key == "rate_limit")
    assert is_as_assumed(question, report.seen["rate_limit"])


# Failures


@pytest.mark.parametrize(
    ("method", "path", "fault"),
    [
        ("PUT", ONE, Answer(status=500)),
        ("PUT", ONE, Drop(effect=True)),
        ("POST", RESPONSES, Answer(status=503)),
        ("POST", RESPONSES, Answer(status=400, body='{"error":"no"}')),
        ("GET", RESPONSES, Truncate(keep_bytes=5)),
        ("GET", ONE, Answer(status=200, body="<html>maintenance</html>")),
        ("GET", END_USERS, Drop()),
        ("GET", "/pixel.gif", Drop()),
        ("DELETE", ONE, Drop(effect=True)),
    ],
)
async def test_a_failure_in_the_middle_still_deletes(wootric, method, path, fault):
    wootric.on(method, path, fault)
    report = await probe(wootric, replace(PACE, listed_within_s=0.5))
    assert not wootric.state.end_users
    assert (report.ids, report.in_doubt) == ([], False)


async def test_a_create_without_a_reply_is_looked_for_and_deleted(wootric):
    wootric.on("POST", END_USERS, Drop(effect=True))
    report = await probe(wootric)
    assert not wootric.state.end_users
    assert (report.ids, report.in_doubt, report.exit_code) == ([], False, 69)
    assert "not created" in report.failure


async def test_a_create_that_may_have_succeeded_is_reported(wootric):
    wootric.on("POST", END_USERS, Drop())
    report = await probe(wootric)
    assert report.in_doubt
    assert report.person.external_id in "".join(probe_command._left(report))


async def test_a_create_that_is_refused(wootric):
    wootric.on("POST", END_USERS, Answer(status=400, body='{"error":"not by you@example.com"}'))
    report = await probe(wootric)
    assert (report.in_doubt, report.exit_code) == (False, 1)
    assert "<e-mail>" in report.failure
    assert "you@" not in report.failure


async def test_a_create_whose_reply_shows_nobody_is_found(wootric):
    wootric.on("POST", END_USERS, Answer(status=201, body='{"id":4711}', effect=True))
    report = await probe(wootric)
    assert report.failure == ""
    assert not wootric.state.end_users
    assert not wootric.journal.counters.get(("DELETE", ONE, 404))


async def test_somebody_else_is_never_deleted(wootric):
    """A reply that shows another person, for whatever reason, names no id of the probe's."""
    other = wootric.state.create_end_user({"email": "ada@example.com"}, unique=())
    shown = json.dumps({"id": other.id, "email": "ada@example.com", "properties": {}})
    wootric.on("POST", END_USERS, Answer(status=201, body=shown), always=True)
    wootric.on("GET", ONE, Answer(status=200, body=shown), always=True)
    report = await probe(wootric)
    assert "does not show the test person" in report.failure
    assert list(wootric.state.end_users) == [other.id]


async def test_a_person_that_cannot_be_deleted_is_named(wootric):
    wootric.on("DELETE", ONE, Answer(status=500), always=True)
    report = await probe(wootric)
    assert report.ids == list(wootric.state.end_users)
    assert all(str(one) in "".join(probe_command._left(report)) for one in report.ids)


async def test_a_cancelled_probe_deletes(wootric):
    """As Ctrl-C does."""
    wootric.on("PUT", ONE, Delay(before_s=60.0))
    task = asyncio.create_task(probe(wootric))
    while not any(entry.method == "PUT" for entry in wootric.journal.entries):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not wootric.state.end_users


async def test_a_create_during_which_it_is_cancelled_is_looked_for(wootric):
    wootric.on("POST", END_USERS, Delay(after_s=60.0))
    task = asyncio.create_task(probe(wootric))
    while not wootric.state.end_users:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not wootric.state.end_users


@pytest.mark.parametrize("status", [401, 429])
async def test_what_was_not_executed_is_sent_again(wootric, status):
    wootric.on("POST", END_USERS, Answer(status=status, headers={"Retry-After": "0.01"}))
    report = await probe(wootric)
    assert report.failure == ""
    assert report.seen["write_reply"].position == "full"


async def test_writes_are_sent_once(wootric):
    wootric.on("PUT", ONE, Answer(status=503, effect=True))
    report = await probe(wootric)
    assert report.seen["put_properties"].position == "unknown"
    assert sum(entry.method == "PUT" for entry in wootric.journal.entries) == 3


@pytest.mark.parametrize(("status", "code"), [(401, 77), (500, 69)])
async def test_without_a_token_nothing_is_sent(wootric, status, code):
    wootric.on("POST", "/oauth/token", Answer(status=status), always=True)
    report = await probe(wootric)
    assert report.exit_code == code
    assert {entry.path for entry in wootric.journal.entries} == {"/oauth/token"}


# The command


async def run(
    wootric: Emulator, *flags: str, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> tuple[int, str, str]:
    """Run `doctor --probe-account` with only the account's settings."""
    monkeypatch.setattr("stream.doctor.probe.Pace", lambda: PACE)
    env = {
        "WOOTRIC__ACCOUNT_TOKEN": "NPS-4aeb53c1",
        "WOOTRIC__CLIENT_ID": "the-client",
        "WOOTRIC__CLIENT_SECRET": "of-the-client",
        "WOOTRIC__API_URL": wootric.url,
        "WOOTRIC__PIXEL_URL": wootric.pixel_url,
        **settings,
    }
    arguments = ["doctor", "--probe-account", *flags]
    ran = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=env)
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    assert not any(one in ran.stdout + ran.stderr for one in SECRETS)
    return ran.exit_code, ran.stdout, ran.stderr


@pytest.mark.parametrize("flags", [(), ("--json",)])
async def test_without_yes_nothing_is_sent(wootric, flags, monkeypatch):
    code, out, _ = await run(wootric, *flags, monkeypatch=monkeypatch)
    assert code == 0
    assert "wootric-stream-probe+" in out
    assert flags or "repeat with --yes" in out
    assert not wootric.journal.entries


async def test_the_command_prints_the_table(wootric, monkeypatch):
    code, out, err = await run(wootric, "--yes", monkeypatch=monkeypatch)
    assert code == 0, err
    for question in QUESTIONS:
        assert f"  {question.text} " in out
    assert "  reply to a response " in out
    assert "empty (status 201)" in out
    assert "400 (email_taken, 'Validation failed: Email has already been taken')" in out
    assert "deleting the test person" in err
    assert "16 as assumed, 2 otherwise, 0 unknown" in out


async def test_the_command_prints_json(wootric, monkeypatch):
    code, out, _ = await run(wootric, "--yes", "--json", monkeypatch=monkeypatch)
    document = json.loads(out)
    assert (code, document["done"], document["left"]) == (0, True, [])
    assert [one["key"] for one in document["answers"]] == [one.key for one in QUESTIONS]
    otherwise = {one["key"] for one in document["answers"] if one["as_assumed"] is False}
    assert otherwise == {"delete_delay_s", "rate_limit"}


async def test_the_command_names_whom_it_could_not_delete(wootric, monkeypatch):
    wootric.on("DELETE", ONE, Answer(status=500), always=True)
    code, _, err = await run(wootric, "--yes", monkeypatch=monkeypatch)
    assert code == 1
    assert all(f"end user {one} " in err for one in wootric.state.end_users)


async def test_the_command_ends_with_the_code_of_the_failure(wootric, monkeypatch):
    wootric.behaviour = LIKELY.changed({"client_secret": "another"})
    code, out, err = await run(wootric, "--yes", monkeypatch=monkeypatch)
    assert code == 77
    assert "no token: status 401" in err
    assert "18 unknown" in out


@pytest.mark.parametrize(
    "arguments",
    [("--yes",), ("--probe-account", "--bridge"), ("--probe-account", "--tolerate-outages")],
)
def test_options_that_do_not_fit(arguments):
    ran = CliRunner().invoke(app, ["doctor", *arguments])
    assert ran.exit_code == 2


# Readings of replies that the emulator does not give


def said(status: int, body: str = "", content_type: str = "application/json") -> HttpResponse:
    return HttpResponse(status, {"Content-Type": content_type}, body.encode())


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (reading.write_reply(said(201)), "other"),
        (reading.write_reply(said(201, '{"id":1}')), "other"),
        (reading.lookup_absent(said(410)), "410"),
        (reading.lookup_absent(said(200, '{"id":1}')), "other"),
        (reading.list_shows(before=False, after=False), "nobody"),
        (reading.email_taken(said(201, '{"id":1}')), "created"),
        (reading.duplicate(said(400, '{"error":"no"}')), "other"),
        (reading.put_properties({"probe_first": "first"}), "dropped"),
        (reading.typed_properties(said(200, '{"id":1}'), {}), "dropped"),
        (reading.typed_properties(said(200, '{"id":1}'), {"probe_date": 0}), "changed"),
        (reading.survey_reply(said(201, '"queued"')), "other"),
        (reading.survey_reply(said(422, '{"error":"no"}')), "refused"),
        (reading.survey_time({}, 1), "other"),
        (reading.survey_time({"created_at": 3}, 1), "changed"),
        (reading.unique_link(1), "other"),
        (reading.page_beyond(said(200, '[{"id":1}]')), "records"),
        (reading.pixel(said(403, "", "")), "403 no content type"),
    ],
)
def test_other_replies_have_a_reading_too(seen, expected):
    assert seen.position == expected


@pytest.mark.parametrize(
    ("result", "detail"),
    [
        (said(500), "status 500"),
        (said(403), "status 403"),
        (NotSent("ClientConnectorError"), "no reply: ClientConnectorError"),
        (NoResponse("TimeoutError"), "no reply: TimeoutError"),
    ],
)
def test_what_is_no_reply_is_unknown(result, detail):
    requests = Requests(resources_url="http://h/v1", pixel_url="http://h/p", account_token="t")
    request: Request = requests.probe()
    assert reading.unanswered(request, result) == Seen("unknown", detail)


def test_a_delay_is_as_assumed_below_its_bound():
    question = next(one for one in QUESTIONS if one.below)
    assert is_as_assumed(question, Seen("59.9"))
    assert not is_as_assumed(question, Seen("60.0"))
    assert is_as_assumed(question, Seen("unknown")) is None


def test_only_records_with_the_names_of_the_probe_are_its_own():
    person = ProbePerson(suffix="ab", phone_number="+12025550100")
    assert person.own_id({"id": 7, "email": person.emails[2]}) == 7
    assert person.own_id({"id": 7, "external_id": person.external_id}) == 7
    assert person.own_id({"id": 7, "email": "wootric-stream-probe+cd@example.com"}) is None
    assert person.own_id([7]) is None


def test_questions_are_distinct():
    assert len({one.key for one in QUESTIONS}) == len({one.text for one in QUESTIONS})
    assert isinstance(QUESTIONS[0], Question)
