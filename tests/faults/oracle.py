"""What Wootric holds, compared with what the events say: the judge of every fault test."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
from confluent_kafka import KafkaException
from evidence import OracleError
from stack import Stack
from waiting import until

from stream.devtools.demo import judge_all, pixels_of
from stream.devtools.demo_report import Row, compare, differences, expect, observed
from stream.kafka.reader import TopicReader

Answer = TypeVar("Answer")


async def agrees(stack: Stack) -> None:
    """Return if all is as it should be, when all is settled.

    Raises:
        OracleError: it is not, and no second run is asked whether it is.
    """
    if found := await complaints(stack):
        raise OracleError("\n".join(found))


@dataclass(frozen=True)
class Judgement:
    """What Wootric holds beside what it should: by kind, and examples of what differs."""

    rows: Sequence[Row]
    differences: Sequence[str]
    parked_twice: bool
    open_intents: int

    def complaints(self) -> list[str]:
        """Everything that is not as it should be."""
        found = [f"{row}" for row in self.rows if not row.agrees]
        found += self.differences
        if self.parked_twice:
            found.append("an event was parked twice")
        if self.open_intents:
            found.append(f"{self.open_intents} open intents")
        return found


async def complaints(stack: Stack) -> list[str]:
    """Everything that is not as it should be, when all is settled.

    Nothing is missing and nothing is there twice; page views are there or parked; every bad
    record has one dead letter; no request is in doubt.
    """
    return (await judge(stack)).complaints()


async def judge(stack: Stack) -> Judgement:
    """Compare what Wootric holds with what the events say, when all is settled."""
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
    found = differences(expected, held, parked_pixels=parked_pixels, dead_letters=dead_letters)
    return Judgement(rows, found, len(parked) != len(set(parked)), intents)


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
