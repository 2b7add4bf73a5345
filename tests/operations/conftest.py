"""One stack whose events have every kind of end, for all tests that only look at it."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from readings import wootric_for
from stack import Stack
from town import PATIENT, group, identify, page, response
from waiting import until

from stream.devtools.wootric_emulator import Answer, Delay, Drop
from stream.state.ledger import IntentEntry

DOUBT_S = 3600.0


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ended(
    bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """Delivered, merged, unchanged, skipped, duplicate, refused by us and by Wootric, parked,
    and one in doubt behind the committed offset: its worker was killed, and none is running.
    """
    async with wootric_for("looking") as wootric:
        stack = Stack(bootstrap_servers, wootric, tmp_path_factory.mktemp("ended"))
        await asyncio.to_thread(stack.create_topics)
        try:
            await settle(stack)
            yield stack
        finally:
            stack.end()


async def settle(stack: Stack) -> None:
    """Let a worker give every event its end, and kill it."""
    worker = stack.worker("w1", **PATIENT)
    worker.start()
    wootric = stack.wootric
    wootric.on("GET", "/pixel.gif", Drop(effect=True))
    stack.publish([identify("ann", "profile", plan="pro", seats=3), page("ann", "view")])
    await stack.until_caught_up()
    wootric.on("POST", "/v1/end_users/{id}/responses", Answer(status=422, body="no such thing"))
    stack.publish([identify("ann", "again", plan="pro"), response("bob", "refused")])
    await stack.until_caught_up()  # or it might be another response that is refused
    stack.publish(
        [
            response("cid", "answer"),
            response("cid", "answer"),
            response("cid", "eleven", 11),
            page("cid", "seen"),
            group("ann", "team"),
            b"no Avro at all",
            None,
        ]
    )
    await stack.until_caught_up()
    wootric.on("POST", "/v1/end_users/{id}/responses", Delay(before_s=DOUBT_S), always=True)
    stack.publish([response("dee", "doubtful"), identify("dee", "behind it", plan="new")])

    def under_way() -> bool:
        return any(isinstance(entry, IntentEntry) for entry in stack.ledger().values())

    await until(under_way, "the response is under way", stack.moved)
    worker.kill()


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands run in this process: they must see the settings of the stack and no others."""
    monkeypatch.setenv("COLUMNS", "200")
    return
