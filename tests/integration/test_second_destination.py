"""Another destination under the same engine: workers that are killed, replies that are lost."""

import asyncio
import sys
from collections import Counter, defaultdict
from pathlib import Path
from random import Random

import pytest
import webhook
from stack import Stack
from waiting import until

COMMAND = [sys.executable, str(Path(webhook.__file__))]
EVENTS, USERS, KILLS = 150, 30, 3

pytestmark = pytest.mark.kafka


async def test_each_event_is_held_once_and_in_order_after_kills_and_lost_replies(
    stack: Stack,
) -> None:
    dice = Random(18)
    async with webhook.WebhookServer(dice).running() as server:
        worker = stack.worker("w1", command=COMMAND, WEBHOOK_URL=server.url)
        worker.start()
        documents = [
            {"type": "track", "messageId": f"m{number}", "userId": str(number % USERS)}
            for number in range(EVENTS)
        ]
        await asyncio.to_thread(stack.publish, documents)

        def moved() -> object:
            return server.requests, len(server.held), worker.said()

        for kill in range(1, KILLS + 1):
            share = kill * EVENTS // (KILLS + 2)
            await until(lambda share=share: len(server.held) >= share, "a share is held", moved)
            worker.kill()
            worker.start()
        await until(lambda: len(server.held) == EVENTS, "all is held", moved)
        stack.moved = moved  # type: ignore[method-assign]  the emulator sees nothing of it
        await stack.until_caught_up()
        assert await asyncio.to_thread(worker.stop) == 0

    assert Counter(server.held.values()) == {f"m{number}": 1 for number in range(EVENTS)}
    order: dict[int, list[int]] = defaultdict(list)
    for message_id in server.held.values():
        number = int(message_id[1:])
        order[number % USERS].append(number)
    assert all(numbers == sorted(numbers) for numbers in order.values())
