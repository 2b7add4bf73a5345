"""What Wootric holds, compared with what the events say: the judge of every fault test."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import aiohttp
from confluent_kafka import KafkaException
from evidence import OracleError
from stack import Stack
from waiting import until

from stream.devtools.demo import judge_all, pixels_of
from stream.devtools.demo_report import compare, differences, expect, observed
from stream.kafka.reader import TopicReader

Answer = TypeVar("Answer")


async def agrees(stack: Stack) -> None:
    """Return if all is as it should be, when all is settled.

    Raises:
        OracleError: it is not, and no second run is asked whether it is.
    """
    if found := await complaints(stack):
        raise OracleError("\n".join(found))


async def complaints(stack: Stack) -> list[str]:
    """Everything that is not as it should be, when all is settled.

    Nothing is missing and nothing is there twice; page views are there or parked; every bad
    record has one dead letter; no request is in doubt.
    """
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{stack.wootric.url}/_emulator/state") as reply,
    ):
        held = observed(await reply.json())
    survey = TopicReader(stack.config)
    try:
        letters, parked = await answered(survey.letters)
        intents = await answered(survey.open_intents)
    finally:
        survey.close()
    events = judge_all(stack.published)
    expected, dead_letters = expect(events), Counter(letters)
    parked_pixels = pixels_of(events, parked)
    rows = compare(expected, held, dead_letters=dead_letters, parked_pixels=parked_pixels)
    found = [f"{row}" for row in rows if not row.agrees]
    found += differences(expected, held, parked_pixels=parked_pixels, dead_letters=dead_letters)
    if len(parked) != len(set(parked)):
        found.append("an event was parked twice")
    if intents:
        found.append(f"{intents} open intents")
    return found


async def answered(question: Callable[[], Answer]) -> Answer:
    """Return Kafka's answer; a broker that is late is asked again."""
    answers: list[Answer] = []

    async def asked() -> bool:
        try:
            answers.append(await asyncio.to_thread(question))
        except KafkaException:
            return False
        return True

    await until(asked, "Kafka answers")
    return answers[0]
