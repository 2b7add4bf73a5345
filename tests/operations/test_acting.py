"""Commands that act while a worker runs: replay of dead letters, decisions about parked events."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest
import pytest_asyncio
from readings import wootric_for
from stack import Stack
from town import PATIENT, ask, identify, page, response, responses, run
from waiting import until

from stream.devtools.wootric_emulator import Answer, Drop

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.asyncio(loop_scope="module"),
]

REFUSED = Answer(status=422, body="no such thing")
RESPONSES = "/v1/end_users/{id}/responses"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(
    bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """A stack whose worker runs; each test has end users of its own."""
    async with wootric_for("acting") as wootric:
        stack = Stack(bootstrap_servers, wootric, tmp_path_factory.mktemp("live"))
        await asyncio.to_thread(stack.create_topics)
        stack.worker("w1", **PATIENT).start()
        yield stack
        stack.end()


async def publish(stack: Stack, documents: Collection[dict[str, Any]]) -> None:
    await asyncio.to_thread(stack.publish, documents)
    await stack.until_caught_up()


async def killed_replay(stack: Stack, reason: str) -> int:
    """Begin to replay letters, and kill -9 the command in the middle; return how many it sent."""
    before = sum(stack.ends(stack.config.topic).values())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stream", "dlq", "replay", "--reason", reason),
        *("--rate", "4", "--yes"),
        env={**os.environ, **stack.environment("operator")},
        stdout=asyncio.subprocess.DEVNULL,
    )

    async def sent() -> int:
        ends = await asyncio.to_thread(stack.ends, stack.config.topic)
        return sum(ends.values()) - before

    async def some() -> bool:
        return await sent() >= 4

    try:
        await until(some, "some letters are sent")
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        code = await process.wait()
    assert code == -signal.SIGKILL
    return await sent()


async def test_a_replay_killed_in_the_middle_and_repeated_has_one_effect(live: Stack) -> None:
    """And a letter whose event has no messageId is known all the same, by its place."""
    count = 40
    live.wootric.on("POST", RESPONSES, REFUSED, times=count)
    events = [response(f"r{n}", f"kill {n}") for n in range(count)]
    del events[0]["messageId"]
    await publish(live, events)
    found = await ask(live, "dlq", "list")
    assert (found["counts"], found["open"]) == ({"validation": count}, count)

    sent = await killed_replay(live, "validation")
    assert 0 < sent < count
    again = await ask(live, "dlq", "replay", "--reason", "validation", "--yes")
    assert again["sent"] == count, "none of those that were sent had been noted"
    await live.until_caught_up()
    assert responses(live) == sorted(event["properties"]["text"] for event in events)

    found = await ask(live, "dlq", "list", "--outcomes")
    assert found["open"] == 0
    assert {one["state"] for one in found["letters"]} == {"replayed: delivered"}
    rest = await ask(live, "dlq", "replay", "--yes")
    assert (rest["sent"], rest["done_before"]) == (0, count)


async def test_a_letter_that_is_refused_again_is_a_new_letter(live: Stack) -> None:
    await publish(live, [response("again", "eleven", 11)])
    (letter,) = (await ask(live, "dlq", "list", "--reason", "invalid_score"))["letters"]
    assert (await ask(live, "dlq", "replay", "--reason", "invalid_score", "--yes"))["sent"] == 1
    await live.until_caught_up()
    found = (await ask(live, "dlq", "list", "--reason", "invalid_score", "--outcomes"))["letters"]
    assert {(one["place"], one["replay_of"], one["state"]) for one in found} == {
        (letter["place"], None, "replayed: rejected again, as a new dead letter"),
        (found[0]["place"], letter["place"], "open"),
    }
    done = await ask(live, "dlq", "dismiss", "--reason", "invalid_score", "--note", "no", "--yes")
    assert done["dismissed"] == 1
    assert (await ask(live, "dlq", "list", "--reason", "invalid_score"))["open"] == 0


async def test_an_old_identify_is_stale_unless_it_is_forced(live: Stack) -> None:
    """Force makes it win, once however often it is asked for."""

    def plan() -> Any:
        (user,) = (u for u in live.wootric.state.end_users.values() if u.external_id == "eve")
        return user.properties.get("plan")

    live.wootric.on("POST", "/v1/end_users", Answer(status=410, body="{}"))
    await publish(live, [identify("eve", "old", plan="old")])
    new = {**identify("eve", "new", plan="new"), "timestamp": "2026-02-02T03:04:05.000Z"}
    await publish(live, [new])
    assert (await ask(live, "dlq", "replay", "--reason", "gone", "--yes"))["sent"] == 1
    await live.until_caught_up()
    assert plan() == "new"
    found = await ask(live, "dlq", "list", "--reason", "gone", "--outcomes")
    assert found["letters"][0]["state"] == "replayed: skipped: stale"

    forced = ("dlq", "replay", "--reason", "gone", "--force", "--yes")
    assert (await ask(live, *forced))["sent"] == 1
    await live.until_caught_up()
    assert plan() == "old"
    assert (await ask(live, *forced))["sent"] == 0


async def test_force_does_not_repeat_what_was_delivered(live: Stack) -> None:
    live.wootric.on("POST", RESPONSES, Answer(status=423, body="{}"))
    await publish(live, [response("fay", "locked")])
    replay = ("dlq", "replay", "--reason", "locked", "--yes")
    assert (await ask(live, *replay))["sent"] == 1
    await live.until_caught_up()
    assert (await ask(live, *replay, "--force"))["sent"] == 0
    assert responses(live).count("locked") == 1


async def test_a_parked_event_is_resent_once_or_dismissed(live: Stack) -> None:
    live.wootric.on("GET", "/pixel.gif", Drop(), times=2)
    await publish(live, [page("gil", "seen"), page("hal", "unseen")])
    found = (await ask(live, "in-doubt", "list", "--parked"))["parked"]
    places = {one["message_id"]: one["place"] for one in found}
    assert set(places) == {"seen", "unseen"}

    def views() -> list[str]:
        urls = [str(view.url) for view in live.wootric.state.page_views]
        return [url.rpartition("/")[2] for url in urls]

    resend = ("in-doubt", "resolve", places["unseen"], "--as", "resend", "--yes")
    dismiss = ("in-doubt", "resolve", places["seen"], "--as", "dismiss", "--yes")
    for command in (resend, resend, dismiss):
        assert (await ask(live, *command))["done"] == 1
    await live.until_caught_up()
    assert views().count("unseen") == 1
    assert views().count("seen") == 0
    assert (await ask(live, "in-doubt", "list", "--parked"))["open"] == 0
    decided = await ask(live, "in-doubt", "list", "--parked", "--decided")
    states = {one["message_id"]: one["state"] for one in decided["parked"]}
    assert states == {"seen": "dismissed", "unseen": "replayed: delivered"}
    story = " ".join((await ask(live, "trace", "unseen"))["story"])
    assert "parked at" in story
    assert "as a replay: delivered" in story


async def test_verify_agrees_after_all_of_that_while_the_worker_runs(live: Stack) -> None:
    """Replays are events of their own, and notes are no letters."""
    publishing = asyncio.create_task(
        asyncio.to_thread(live.publish, [response(f"v{n}", f"during {n}") for n in range(300)])
    )
    ran = await run(live, "verify", "--json")
    assert ran.code == 0, ran.out
    await publishing
    await live.until_caught_up()
    found = await ask(live, "verify")
    assert found["agrees"]
    assert found["events"] == sum(found["outcomes"].values()) >= 300
