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
FIRST, SECOND = "a-first-secret", "a-second-secret"


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


async def test_credentials_revoked_at_night(stack: Stack, tmp_path: Path) -> None:
    """The workers read the new secret by themselves and are not restarted."""
    secret = tmp_path / "client-secret"
    secret.write_text(FIRST)
    settings = {"WOOTRIC__CLIENT_SECRET": "", "WOOTRIC__CLIENT_SECRET_FILE": str(secret)}
    installed = release(stack, **SESSION, **settings)
    installed.write_secret = lambda: secret.write_text(SECOND)
    wootric = stack.wootric
    wootric.behaviour = wootric.behaviour.changed({"client_secret": FIRST})
    async with watched(installed, tmp_path) as pager:
        await publish(stack, 0, "before")
        await settled(stack)
        wootric.behaviour = wootric.behaviour.changed({"client_secret": SECOND})
        wootric.revoke_tokens()
        await publish(stack, EVENTS, "meanwhile")
        ticket = await pager.until_fires("WootricCredentialsRefused")
        assert ticket["error"] == "invalid_client"
        page = await pager.until_fires("WootricCircuitOpen")
        assert (page["severity"], page["circuit"], page["reason"]) == ("page", "api", "credentials")
        said = await installed.look(steps("WootricCircuitOpen", "First look"))
        assert "check WOOTRIC__CLIENT_ID and WOOTRIC__CLIENT_SECRET" in said
        await installed.do(steps("WootricCircuitOpen", "Fix", "`credentials`"))
        await settled(stack)
        await installed.do(steps("WootricCircuitOpen", "Verify"))
        await pager.until_ends("WootricCircuitOpen", "WootricCredentialsRefused")
    assert len(wootric.state.end_users) == 2 * EVENTS
    assert [line["event"] for line in installed.workers[0].logged()].count("started") == 1
    await agrees(stack)
