"""`run --dry-run` on a real Kafka: it says what the service then does, and touches nothing."""

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from stack import Stack
from test_service import PATIENT, identify, page, response
from waiting import STILL_S

OTHERS = re.compile(r"t[0-9a-f]{10}")
"""How the names of stacks begin."""
COMMAND = (sys.executable, "-m", "stream", "run", "--dry-run")


async def rehearse(stack: Stack, *options: str) -> tuple[list[dict[str, Any]], str]:
    """Run the command; return its lines and what it says."""
    done = await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, *options],
        env=stack.worker("dry")._environment,
        capture_output=True,
        check=False,
        timeout=STILL_S,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


async def serve(stack: Stack) -> None:
    worker = stack.worker("w1", **PATIENT)
    worker.start()
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0


def traces(stack: Stack) -> dict[str, Any]:
    """What anybody who did something would have moved."""
    topics = [stack.config.topic, stack.config.ledger_topic, stack.config.dead_letter_topic]
    groups = [group.group_id for group in stack.admin.list_consumer_groups().result().valid]
    return {
        "offsets": stack.committed(),
        "ends": [stack.ends(topic) for topic in (*topics, stack.config.parked_topic)],
        "journal": len(stack.wootric.journal.entries),
        "groups": sorted(filter(partial(may_be_of, stack), groups)),
    }


def may_be_of(stack: Stack, group: str) -> bool:
    """Whether it is not of another test, which runs on the same Kafka at the same time."""
    own = stack.config.group_id
    return group.startswith(own) or not OTHERS.match(group)


def others(lines: Iterable[dict[str, Any]]) -> set[tuple[str, str, str | None]]:
    return {
        (line["outcome"], line["reason"], line["message_id"])
        for line in lines
        if line["outcome"] != "deliver"
    }


def shown(lines: Iterable[dict[str, Any]], base: str) -> Counter[tuple[str, str, str, str]]:
    """The requests of a dry run: method, path, query and form."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for line in lines:
        if line["outcome"] == "deliver":
            request = line["request"]
            path, _, query = request["url"].removeprefix(base).partition("?")
            form = json.dumps(request.get("form", {}))
            found[request["method"], path, query, form] += 1
    return found


def sent(stack: Stack, since: int) -> Counter[tuple[str, str, str, str]]:
    """The same of the requests that arrived; of people who are new, without their ids."""
    entries = [e for e in stack.wootric.journal.since(since) if e.path != "/oauth/token"]
    new = {
        f"/end_users/{entry.effect.id}": f"/end_users/{{new-{number}}}"
        for number, entry in enumerate(
            (e for e in entries if e.effect and e.effect.kind == "create_end_user"), 1
        )
    }
    found: Counter[tuple[str, str, str, str]] = Counter()
    for entry in entries:
        path, query = entry.path, entry.query.replace("NPS-0a1b2c3d", "***")
        for known, unknown in new.items():
            path = path.replace(f"{known}/", f"{unknown}/")
        form = json.dumps(dict(parse_qsl(entry.form, keep_blank_values=True)))
        found[entry.method, path, query, form] += 1
    return found


async def test_a_dry_run_shows_what_the_service_then_does_and_touches_nothing(
    stack: Stack,
) -> None:
    """Requests, skips, rejections and duplicates; offsets, ledger, group and Wootric as before."""
    stack.publish([identify(1, "m1", plan="free"), identify(2, "m2", plan="free"), page(1, "m3")])
    await serve(stack)
    stack.publish(
        [
            identify(1, "a1", plan="free"),
            identify(2, "a2", plan="pro"),
            page(1, "a3"),
            response(2, "a4", 9),
            page(7, "a5"),
            response(8, "a6", 3),
            response(1, "a7", 11),
            page(1, "m3"),
            {"type": "screen", "messageId": "a8", "userId": "u1"},
            None,
            b"neither Avro nor JSON",
        ]
    )
    before = await asyncio.to_thread(traces, stack)
    lines, told = await rehearse(stack)
    assert await asyncio.to_thread(traces, stack) == before
    assert others(lines) >= {
        ("skip", "unchanged", "a1"),
        ("skip", "no_email", "a5"),
        ("skip", "unsupported_type", "a8"),
        ("skip", "tombstone", None),
        ("reject", "invalid_score", "a7"),
        ("reject", "undecodable", None),
        ("duplicate", "message_id", "m3"),
    }
    conditions = {
        (line["request"]["name"], line["only_if"])
        for line in lines
        if line["outcome"] == "deliver" and line["events"][0]["message_id"] == "a6"
    }
    assert conditions == {
        ("find_end_user", None),
        ("create_end_user", "the look-up finds nobody"),
        ("create_response", "the look-up finds nobody"),
    }
    assert "11 events; nothing was sent" in told
    text = json.dumps(lines)
    assert "NPS-0a1b2c3d" not in text
    assert "a-secret-of-tests" not in text
    journal = before["journal"]
    await serve(stack)
    assert shown(lines, stack.wootric.url) == sent(stack, journal + 1)


async def test_a_dry_run_ends_where_it_is_told_to(stack: Stack) -> None:
    """Also without a ledger entry, and before any worker has ever run."""
    stack.publish([identify(1, f"m{number}", n=number) for number in range(5)])
    lines, told = await rehearse(stack, "--limit", "3")
    assert [event["message_id"] for event in lines[-1]["events"]] == ["m0", "m1", "m2"]
    assert [line["request"]["name"] for line in lines] == ["find_end_user", "create_end_user"]
    assert "3 events" in told
    assert "2 API requests at most, 0.67 per event" in told
    assert '"event":"personal_data_shown"' in told
