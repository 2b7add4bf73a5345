"""Commands that only look, on a stack whose events have every kind of end."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import typer
from stack import Stack
from town import ask, run
from waiting import STILL_S, stretched

from stream.cli.fix import fix_app
from stream.cli.look import look_app
from stream.operations import trace as tracing
from stream.operations.analysis.open_intents import hashed

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.asyncio(loop_scope="session"),
]


@pytest_asyncio.fixture(scope="session", loop_scope="session", autouse=True)
async def without_brokers() -> AsyncIterator[asyncio.subprocess.Process]:
    """A command whose brokers are away; it takes its time while the other tests run."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stream", "verify"),
        env={**os.environ, "KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    yield process
    if process.returncode is None:
        process.kill()
        await process.wait()


async def test_verify_agrees(ended: Stack) -> None:
    """A request in doubt lies behind the offset: it is no disagreement."""
    found = await ask(ended, "verify")
    assert found["agrees"] is True
    assert found["outcomes"] == {
        "delivered": 3,
        "skipped": 3,
        "rejected": 3,
        "parked": 1,
        "duplicate": 1,
    }
    assert found["events"] == 11
    assert found["not_compared"] == {"behind": 2, "expired": 0}
    assert found["in_doubt"] == 1
    ran = await run(ended, "verify")
    assert ran.out.splitlines()[-1] == "all agrees: 11 events, each settled once"


async def test_verify_of_a_group_that_was_never_there_says_so(ended: Stack) -> None:
    ran = await run(ended, "verify", KAFKA__GROUP_ID="nobody")
    assert ran.code == 1
    assert "KAFKA__GROUP_ID" in ran.err


async def test_open_requests_are_listed_without_names(ended: Stack) -> None:
    found = await ask(ended, "in-doubt", "list")
    (one,) = found["open"]
    assert one["lane"] == hashed("dee")
    assert (one["class"], one["operation"], one["instance"]) == ("O", "create_response", "w1")
    assert [member["event_id"] for member in one["members"]] == ["doubtful"]
    assert "dee" not in json.dumps(found)
    shown = await ask(ended, "in-doubt", "list", "--show-personal")
    assert shown["open"][0]["lane"] == "dee"


async def test_parked_events_wait_for_a_person(ended: Stack) -> None:
    found = await ask(ended, "in-doubt", "list", "--parked")
    (one,) = found["parked"]
    assert (one["message_id"], one["reason"], one["state"]) == ("view", "ambiguous", "open")
    ran = await run(ended, "in-doubt", "resolve", one["place"], "--as", "resend")
    assert ran.code == 0
    assert "--yes" in ran.out
    ran = await run(ended, "in-doubt", "resolve", "0-99", "--as", "dismiss", "--yes")
    assert ran.code == 1
    assert "in-doubt list --parked" in ran.err


async def test_dead_letters_are_counted_and_listed(ended: Stack) -> None:
    found = await ask(ended, "dlq", "list")
    assert found["counts"] == {"invalid_score": 1, "undecodable": 1, "validation": 1}
    assert {one["message_id"] for one in found["letters"]} == {"refused", "eleven", None}
    assert {one["state"] for one in found["letters"]} == {"open"}


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--reason", "validation"], ["refused"]),
        (["--reason", "validation", "--reason", "invalid_score"], ["eleven", "refused"]),
        (["--since", "1h", "--reason", "validation"], ["refused"]),
        (["--until", "1h"], []),
        (["--limit", "0"], []),
    ],
)
async def test_dead_letters_are_selected(
    ended: Stack, arguments: list[str], messages: list[str]
) -> None:
    found = await ask(ended, "dlq", "list", *arguments)
    assert sorted(one["message_id"] for one in found["letters"]) == messages


async def letter_of(stack: Stack, reason: str) -> str:
    found = await ask(stack, "dlq", "list", "--reason", reason)
    return str(found["letters"][0]["place"])


async def test_a_dead_letter_is_shown_with_its_event_and_its_bytes(
    ended: Stack, tmp_path: Path
) -> None:
    place, raw = await letter_of(ended, "invalid_score"), tmp_path / "raw"
    found = await ask(ended, "dlq", "show", place, "--raw", str(raw))
    assert found["event"]["properties"]["score"] == 11
    assert found["headers"]["x-reason"] == "invalid_score"
    assert found["replay_now"].startswith("rejected again: invalid_score")
    assert raw.read_bytes() in {record.value for record in ended.published}
    place = await letter_of(ended, "undecodable")
    assert (await ask(ended, "dlq", "show", place))["event"] is None
    missing = await run(ended, "dlq", "show", "2-999")
    assert missing.code == 1


async def test_who_is_shown_personal_data_is_recorded_before_it_is_shown(
    ended: Stack, tmp_path: Path
) -> None:
    """A command and a count, none of the data. What cannot be recorded is not shown."""
    file, place = tmp_path / "audit", await letter_of(ended, "invalid_score")
    commands = {
        "dlq show": ["dlq", "show", place],
        "in-doubt list --show-personal": ["in-doubt", "list", "--show-personal"],
        "trace --user": ["trace", "--user", "ann"],
    }
    for command in commands.values():
        assert (await run(ended, *command, LOG__AUDIT_FILE=str(file))).code == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["event"], line["command"]) for line in lines] == [
        ("personal_data_shown", name) for name in commands
    ]
    assert [line["records"] for line in lines] == [1, 1, 4]
    assert all(line["user"] and line["instance"] for line in lines)
    assert not {name for name in ("ann", "cid", "dee", "example.com") if name in file.read_text()}
    for command in commands.values():
        ran = await run(ended, *command, LOG__AUDIT_FILE=str(tmp_path))
        assert (ran.code, ran.out) == (66, "")
    ran = await run(ended, "trace", "--user", "ann")
    assert '"event":"personal_data_shown"' in ran.err


STORIES = {
    "profile": ("delivered", "delivered at"),
    "again": ("skipped", "unchanged: Wootric already has the profile"),
    "team": ("skipped", "unsupported_type: screen, group, alias"),
    "view": ("parked", "in-doubt resolve"),
    "refused": ("rejected", "dlq replay --reason validation"),
    "eleven": ("rejected", "score must be a whole number"),
    "doubtful": ("in doubt", "is in flight or in doubt"),
    "behind it": ("not settled", "it waits for request"),
}


@pytest.mark.parametrize("message_id", STORIES)
async def test_trace_tells_what_has_become_of_an_event(ended: Stack, message_id: str) -> None:
    state, words = STORIES[message_id]
    found = await ask(ended, "trace", message_id)
    assert [one["state"] for one in found["input"]] == [state]
    assert words in " ".join(found["story"])


async def test_trace_finds_duplicates_when_asked_for_all(ended: Stack) -> None:
    found = await ask(ended, "trace", "answer", "--all")
    assert [one["state"] for one in found["input"]] == ["delivered", "duplicate"]


async def test_trace_says_when_there_is_nothing(ended: Stack) -> None:
    ran = await run(ended, "trace", "nobody")
    assert ran.code == 1
    assert "no event nobody" in ran.out


async def test_trace_knows_a_record_by_its_place(ended: Stack) -> None:
    place = (await ask(ended, "trace", "team"))["input"][0]["place"]
    found = await ask(ended, "trace", "--at", place)
    assert found["input"][0]["event_id"] == "team"


async def test_trace_asks_wootric_for_the_id_of_a_survey_on_request(
    ended: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply had none. Nothing else is asked, and what cannot be found changes no exit code."""
    monkeypatch.setattr(tracing, "ASK_S_MAX", float(stretched(30)))
    (wanted,) = ended.wootric.state.responses
    found = await ask(ended, "trace", "answer")
    (receipt,) = found["receipts"]
    assert (receipt["remote_id"], receipt["remote_id_source"]) == (None, None)
    place, before = found["input"][0]["place"], len(ended.wootric.journal.entries)
    for arguments in (["answer"], ["--at", place]):
        found = await ask(ended, "trace", *arguments, "--wootric")
        (receipt,) = found["receipts"]
        assert receipt["remote_id"] == wanted
        assert receipt["remote_id_source"] == "found by its fields"
        assert f"Wootric id {wanted}, found by its fields" in " ".join(found["story"])
    asked = [entry.method for entry in ended.wootric.journal.entries[before:]]
    assert asked == ["POST", "GET", "GET"] * 2, "a token, the list and its end"
    for settings, words in (
        ({"WOOTRIC__API_URL": "http://127.0.0.1:1"}, "no token is available"),
        ({"WOOTRIC__LEASE_S": "long"}, "WOOTRIC__LEASE_S"),
    ):
        found = await ask(ended, "trace", "answer", "--wootric", **settings)
        assert found["receipts"][0]["remote_id"] is None
        assert found["story"][-1].startswith("the search for the survey at Wootric failed: ")
        assert words in found["story"][-1]
    before = len(ended.wootric.journal.entries)
    await ask(ended, "trace", "profile", "--wootric")
    assert len(ended.wootric.journal.entries) == before, "it is no survey"


async def test_trace_tells_of_a_person_without_naming_them(ended: Stack) -> None:
    found = await ask(ended, "trace", "--user", "ann")
    assert found["entry"]["email"] == "a***@example.com"
    assert found["entry"]["properties"] == ["plan", "seats"]
    assert [one["state"] for one in found["events"]] == [
        "delivered",
        "parked",
        "skipped",
        "skipped",
    ]
    assert "ann@example.com" not in json.dumps(found)
    busy = await ask(ended, "trace", "--user", "dee")
    assert "the lane is blocked by request" not in json.dumps(busy["events"])
    assert "create_response" in busy["open"][0]["text"]


# What is the same for all


def all_commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for name, command in group.commands.items():
        inner = all_commands(command, (*path, name)) if hasattr(command, "commands") else None
        found += inner or [((*path, name), command)]
    return found


async def test_every_command_of_an_operator_prints_json_on_request() -> None:
    commands = [
        one for part in (look_app, fix_app) for one in all_commands(typer.main.get_command(part))
    ]
    without = [
        path for path, one in commands if not any("--json" in param.opts for param in one.params)
    ]
    assert len(commands) == 13
    assert without == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["trace"],
        ["trace", "m1", "--user", "ann"],
        ["trace", "--at", "here"],
        ["trace", "--user", "ann", "--wootric"],
        ["offsets", "reset"],
        ["offsets", "reset", "--to-earliest", "--to-time", "2h"],
        ["offsets", "reset", "--accept-ledger-loss", "--to-offset", "3", "--partition", "0"],
        ["offsets", "reset", "--to-offset", "3"],
        ["offsets", "reset", "--to-time", "later"],
        ["erase"],
        ["erase", "--user", "ann", "--file", "ids"],
        ["dlq", "show", "here"],
        ["dlq", "list", "--since", "never"],
        ["in-doubt", "list", "--decided"],
        ["in-doubt", "resolve", "--as", "dismiss"],
        ["in-doubt", "resolve", "0-1", "--as", "forget"],
    ],
    ids=" ".join,
)
async def test_what_is_no_sensible_wish_is_a_usage_error(
    ended: Stack, arguments: list[str]
) -> None:
    ran = await run(ended, *arguments)
    assert ran.code == 2
    assert ran.out == ""


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("KAFKA__TOPIC", "nowhere", "topics create"),
        ("KAFKA__PROPERTIES", '{"sasl.mechanizm": "PLAIN"}', "KAFKA__PROPERTIES"),
    ],
)
async def test_what_is_not_set_right_is_named(
    ended: Stack, setting: str, value: str, words: str
) -> None:
    ran = await run(ended, "verify", **{setting: value})
    assert (ran.code, ran.out) == (78, "")
    assert words in ran.err


async def test_without_brokers_it_ends_with_one_line_that_says_what_to_look_at(
    without_brokers: asyncio.subprocess.Process,
) -> None:
    """As a process of its own: Kafka's client neither holds it up nor fills the terminal."""
    out, err = await asyncio.wait_for(without_brokers.communicate(), STILL_S)
    (said,) = err.decode().splitlines()
    assert (without_brokers.returncode, out) == (69, b"")
    assert "KAFKA__BOOTSTRAP_SERVERS" in said
