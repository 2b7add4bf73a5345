"""verify finds what was planted."""

import asyncio
from typing import Any

import pytest
from confluent_kafka import Producer
from stack import Stack
from town import PATIENT, identify, page, response, run

from stream.devtools.wootric_emulator import Drop
from stream.state.ledger import EVENT

pytestmark = pytest.mark.kafka


async def settled(stack: Stack) -> None:
    """Let a worker settle two delivered events, two dead letters and a parked page view."""
    stack.wootric.on("GET", "/pixel.gif", Drop(effect=True))
    worker = stack.worker(**PATIENT)
    worker.start()
    stack.publish(
        [
            identify("ann", "profile"),
            response("ann", "answer"),
            response("ann", "eleven", 11),
            response("ann", "twelve", 12),
            page("ann", "view"),
        ]
    )
    await stack.until_caught_up()
    await asyncio.to_thread(worker.kill)


class Planter:
    """Writes to the topics what no worker ever would."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._producer = Producer({"bootstrap.servers": stack.bootstrap_servers})

    def copy(self, topic: str, message: Any, **changes: Any) -> None:
        record = {
            "key": message.key(),
            "value": message.value(),
            "partition": message.partition(),
            "headers": message.headers() or [],
        }
        self._producer.produce(topic, **{**record, **changes})
        self._producer.flush()

    def message(self, topic: str, name: str) -> Any:
        """The letter of a message, or the receipt of an event."""
        (found,) = (
            one
            for one in self._stack.read(topic)
            if one.key() == (EVENT + name).encode()
            or dict(one.headers() or ()).get("x-message-id") == name.encode()
        )
        return found


async def test_verify_names_each_event_that_is_not_as_it_has_to_be(stack: Stack) -> None:
    """A receipt gone, a letter twice, a receipt whose letter is not there, and the reverse."""
    await settled(stack)
    before = await run(stack, "verify", "--json")
    assert (before.code, before.document["agrees"]) == (0, True)

    config, plant = stack.config, Planter(stack)
    ledger, dead, parked = config.ledger_topic, config.dead_letter_topic, config.parked_topic
    plant.copy(ledger, plant.message(ledger, "answer"), value=None)
    plant.copy(dead, plant.message(dead, "eleven"))
    plant.copy(ledger, plant.message(ledger, "twelve"), key=b"event/other")
    view = plant.message(parked, "view")
    first = str(stack.published[0].offset).encode()
    headers = [(name, first if name == "x-origin-offset" else was) for name, was in view.headers()]
    plant.copy(parked, view, headers=headers)  # as if the profile had been parked, too
    plant.copy(dead, view, headers=[("x-reason", b"of somebody else")])

    ran = await run(stack, "verify", "--json")
    assert ran.code == 1
    found = {
        (one["kind"], one["message_id"] or one["event_id"]) for one in ran.document["examples"]
    }
    assert found == {
        ("missing", "answer"),
        ("duplicate", "eleven"),
        ("duplicate", "other"),
        ("torn", "profile"),
    }
    assert ran.document["flaws"] == {"missing": 1, "duplicate": 2, "unsettled": 0, "torn": 1}
    shown = await run(stack, "verify")
    assert shown.out.splitlines()[-1] == "IT DOES NOT AGREE"
    assert "wootric-stream offsets reset" in shown.out
