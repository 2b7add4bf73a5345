"""Eight incidents: the stack is in that state, the alert fires, the runbook is followed, it ends.

The rules are those that the chart renders, a minute being a second.
"""

import asyncio
from pathlib import Path

import pytest
from on_call import release, steps, watched
from stack import Stack
from waiting import stretched

from tests.faults.oracle import agrees
from tests.operations.town import identify

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SESSION = {
    "KAFKA__SESSION_TIMEOUT_S": stretched(6),
    "KAFKA__TRANSACTION_TIMEOUT_S": stretched(4),
    "WOOTRIC__REQUEST_TIMEOUT_S": stretched(10),
}
EVENTS = 30


async def publish(stack: Stack, first: int, message: str) -> None:
    """Publish profiles of end users who are counted from ``first``."""
    events = [identify(f"u{n}", f"{message}{n}") for n in range(first, first + EVENTS)]
    await asyncio.to_thread(stack.publish, events)


async def settled(stack: Stack) -> None:
    """Return once all is settled, however often the workers ended."""
    await stack.until_caught_up(may_end=range(-9, 79))


@pytest.mark.parametrize(
    ("recreated", "alert", "about"),
    [
        (False, "WootricNoConsumers", "A ledger that was deleted"),
        (True, "WootricPartitionHalted", "`ledger_behind`"),
    ],
    ids=["deleted", "recreated by a hook"],
)
async def test_a_ledger_deleted_by_mistake(
    stack: Stack, tmp_path: Path, recreated: bool, alert: str, about: str
) -> None:
    """Nothing is sent until somebody accepts the loss, and then nothing that was sent before."""
    installed = release(stack, **SESSION)
    topic = stack.config.ledger_topic
    async with watched(installed, tmp_path) as pager:
        for first in (0, EVENTS):  # offsets tell what the ledger had before the last transaction
            await publish(stack, first, "before")
            await settled(stack)
        sent = len(stack.wootric.state.effects)
        stack.admin.delete_topics([topic], operation_timeout=20)[topic].result()
        if recreated:
            await asyncio.to_thread(stack.create_topics)
        await publish(stack, 2 * EVENTS, "meanwhile")
        await pager.until_fires(alert)
        assert len(stack.wootric.state.effects) == sent
        await installed.look(steps(alert, "First look"))
        await installed.do(steps(alert, "Fix", about))
        await settled(stack)
        await installed.do(steps(alert, "Verify"))
        await pager.until_ends(alert)
    assert len(stack.wootric.state.end_users) == 3 * EVENTS
    await agrees(stack)
