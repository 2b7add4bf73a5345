"""Commands for which no worker may run: offsets set back, a person erased."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from confluent_kafka import KafkaError, KafkaException, Producer
from readings import wootric_for
from stack import Stack, Worker
from town import PATIENT, ask, group, identify, page, response, responses, run
from waiting import STILL_S, stretched

from sink.delivery import EffectClass
from stream.devtools.wootric_emulator import Drop
from stream.kafka import config as settings
from stream.kafka import fencing
from stream.kafka.metadata import reset_offsets
from stream.kafka.producer import produce_blocking
from stream.kafka.reader import TopicReader
from stream.operations import erase
from stream.record import Partition, Record
from stream.state.ledger import IntentEntry, Member, UserEntry, encode, intent_key

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.asyncio(loop_scope="module"),
]

PHONE = "+43 1 234567"
SESSION = {"KAFKA__SESSION_TIMEOUT_S": stretched(6)}
PATIENCE = {"KAFKA__SESSION_TIMEOUT_S": "300"}
"""A command waits for so long for members to leave: their own session ends far earlier."""
RESET = ("offsets", "reset")
AT_ONCE = {"KAFKA__SESSION_TIMEOUT_S": "1"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stopped(
    bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Stack, Worker]]:
    """A stack that has settled some events; its worker runs until a test stops it."""
    async with wootric_for("stopped") as wootric:
        stack = Stack(bootstrap_servers, wootric, tmp_path_factory.mktemp("stopped"), 2)
        await asyncio.to_thread(stack.create_topics)
        worker = stack.worker("w1", **SESSION, **PATIENT)
        worker.start()
        wootric.on("GET", "/pixel.gif", Drop(), times=2)
        stack.publish(
            [
                identify("ann", "profile", plan="pro", phone=PHONE),
                response("ann", "answer"),
                response("ann", "eleven", 11),
                group("ann", "team"),
                page("ann", "view"),
                {**identify("ann", "by e-mail"), "userId": None},
                response("bob", "other"),
                response("bob", "twelve", 12),
            ]
        )
        try:
            await stack.until_caught_up()
            yield stack, worker
        finally:
            stack.end()


@pytest_asyncio.fixture(loop_scope="module")
async def without_worker(stopped: tuple[Stack, Worker]) -> Stack:
    """The same stack, once its worker has left in good order."""
    stack, worker = stopped
    if worker.running.poll() is None:
        assert await asyncio.to_thread(worker.stop) == 0
    return stack


async def test_nothing_of_it_is_done_under_a_worker(stopped: tuple[Stack, Worker]) -> None:
    stack, _ = stopped
    before = stack.committed()
    shown = await run(stack, *RESET, "--to-earliest")
    assert (shown.code, stack.committed()) == (0, before)
    assert "first stop the workers: w1" in shown.out
    for command in ((*RESET, "--to-earliest"), ("erase", "--user", "ann")):
        ran = await run(stack, *command, "--yes", **AT_ONCE)
        assert (ran.code, stack.committed()) == (75, before)
        assert "Stop all workers first" in ran.err
    assert len(users(stack)) == 3


async def test_offsets_are_set_back_once_the_worker_has_left(
    stopped: tuple[Stack, Worker],
) -> None:
    """A static member is in the group for its session still: the command waits."""
    stack, worker = stopped
    survey = TopicReader(stack.config)
    replaying = asyncio.create_task(run(stack, *RESET, "--to-time", "1h", "--yes", **PATIENCE))
    await asyncio.sleep(0.5)
    assert await asyncio.to_thread(worker.stop) == 0
    metadata = survey.metadata()
    ran = await replaying
    assert ran.code == 0, ran.err
    assert survey.metadata() == metadata, "how far the ledger reaches is kept in mind"
    survey.close()
    assert set(stack.committed().values()) == {0}


async def test_a_ledger_that_has_lost_records_is_told_of_and_accepted_only_by_name(
    without_worker: Stack,
) -> None:
    """Its offset says how far it reached; setting that back keeps it in mind."""
    stack = without_worker
    await ask(stack, *RESET, "--accept-ledger-loss", "--yes", **PATIENCE)  # waits, if need be
    before = stack.committed()[0]
    reset_offsets(stack.config, {0: before}, {0: "w1:1:1@999999"})
    ran = await run(stack, "verify")
    assert ran.code == 1
    assert "its ledger has lost" in ran.out
    back = await run(stack, *RESET, "--to-offset", "0", "--partition", "0", "--yes", **PATIENCE)
    assert (back.code, back.out) == (1, "")
    assert "--accept-ledger-loss" in back.err
    assert (await ask(stack, *RESET, "--accept-ledger-loss", "--yes", **PATIENCE))["done"]
    assert stack.committed()[0] == before
    assert (await ask(stack, "verify"))["agrees"]


async def test_an_erasure_that_fails_half_way_has_erased_no_entry_and_can_be_repeated(
    without_worker: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the entry under the e-mail would be left, and nothing would lead to it any more."""
    stack = without_worker
    before, produced = users(stack), []

    def produce_one(producer: Producer, **record: Any) -> None:
        if produced:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        produced.append(record)
        produce_blocking(producer, **record)

    with monkeypatch.context() as patched:
        patched.setattr(fencing, "produce_blocking", produce_one)
        ran = await run(stack, "erase", "--user", "ann", "--yes", **PATIENCE)
    assert (ran.code != 0, len(produced), users(stack)) == (True, 1, before)


async def test_what_a_former_member_has_under_way_is_not_committed_behind_the_search(
    without_worker: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its request stays open with a body about the person, and its end writes an entry."""
    stack = without_worker
    transactional_id = settings.transactional_id(stack.config.group_id, "w1")
    lasting = {"transaction.timeout.ms": 600_000}
    sleeper = Producer(
        {**settings.producer(stack.config, transactional_id=transactional_id), **lasting}
    )
    await asyncio.to_thread(sleeper.init_transactions, STILL_S)
    sleeper.begin_transaction()
    intent = IntentEntry(
        request_id="r",
        effect=EffectClass.REPEATABLE,
        members=(Member("late", 0),),
        operation="{}",
        operation_hash="",
        first_attempt_at_ms=0,
        instance="w1",
    )
    sleeper.produce(
        stack.config.ledger_topic, partition=0, key=intent_key("eve"), value=encode(intent)
    )

    def search(*given: Any) -> erase.Traces:
        traces = find(*given)
        with suppress(KafkaException):
            sleeper.commit_transaction(STILL_S)
        return traces

    find = erase.find
    with monkeypatch.context() as patched:
        patched.setattr(erase, "find", search)
        ran = await run(stack, "erase", "--user", "eve", "--yes", **PATIENCE)
    ledger = stack.ledger()
    assert (ran.code, (0, intent_key("eve")) in ledger) == (0, False), ran.err


async def test_of_two_erasures_at_once_one_is_refused_and_can_be_repeated(
    without_worker: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = without_worker
    other = [Record(Partition(stack.config.ledger_topic, 0), -1, 0, b"user/nobody", None)]

    def produce_late(producer: Producer, **record: Any) -> None:
        produce_blocking(producer, **record)
        if other:
            fencing.write_at_once(stack.config, erase.INSTANCE, [other.pop()])

    before = users(stack)
    with monkeypatch.context() as patched:
        patched.setattr(fencing, "produce_blocking", produce_late)
        ran = await run(stack, "erase", "--user", "bob", "--yes", **PATIENCE)
    assert (ran.code, users(stack)) == (75, before), ran.err
    assert "another erase command runs" in ran.err


async def test_a_person_is_erased_and_what_stays_is_named_with_its_end(
    without_worker: Stack, tmp_path: Path
) -> None:
    """The entries go, those under the e-mail too; letters go where nothing of others is lost."""
    stack = without_worker
    shown = await ask(stack, "erase", "--user", "ann")
    assert shown["ledger"]["entries"] == 2
    assert shown["input"]["records"] == 6
    assert (shown["done"], "ann@example.com" in str(shown)) == (False, False)
    blocked = {cut["topic"]: cut["blockers"] for cut in shown["cuts"]}
    by_phone = await ask(stack, "erase", "--user", PHONE)
    assert by_phone["ledger"]["entries"] == 2
    ids = tmp_path / "ids"
    ids.write_text("ann\n\nnobody@example.com\r\n ann\n", encoding="utf-8")
    done = await ask(stack, "erase", "--file", str(ids), "--delete-records", "--yes", **PATIENCE)
    assert (done["done"], done["persons"], done["not_found"]) == (True, 2, [3])
    assert users(stack) == {"user/bob"}
    for cut in done["cuts"]:
        assert cut["done"] is (blocked[cut["topic"]] == [])
    left = await ask(stack, "erase", "--user", "ann")
    assert left["ledger"]["entries"] == 0
    assert len(left["cuts"]) == sum(1 for cut in done["cuts"] if not cut["done"])


async def test_after_that_nothing_is_repeated_and_the_person_is_looked_up(
    stopped: tuple[Stack, Worker],
) -> None:
    """All is read again, and no receipt is missing; a lost entry makes no second end user."""
    stack, worker = stopped
    effects = len(stack.wootric.state.effects)
    if worker.running.poll() is not None:
        worker.start()
    await stack.until_caught_up()
    assert len(stack.wootric.state.effects) == effects
    assert responses(stack) == ["answer", "other"]
    stack.publish([identify("ann", "back", plan="new")])
    await stack.until_caught_up()
    held = [u for u in stack.wootric.state.end_users.values() if u.external_id == "ann"]
    assert [user.properties["plan"] for user in held] == ["new"]
    assert (await ask(stack, "verify"))["agrees"]


async def test_where_retention_removed_the_beginning_only_the_rest_is_compared(
    stopped: tuple[Stack, Worker],
) -> None:
    """And what has lost its receipts is not read again. Records are deleted as retention would."""
    stack, _ = stopped
    topic, ledger = stack.config.topic, stack.config.ledger_topic
    survey = TopicReader(stack.config)
    events = (await ask(stack, "verify"))["events"]
    survey.group.delete_before(topic, {0: 1})
    found = await ask(stack, "verify")
    assert (found["agrees"], found["events"]) == (True, events - 1)
    assert "retention has removed the records before offset 1" in " ".join(found["notes"])

    survey.group.delete_before(ledger, survey.ends(ledger))
    survey.close()
    found = await ask(stack, "verify")
    assert found["agrees"]
    assert found["not_compared"]["expired"] + sum(found["outcomes"].values()) == events - 1
    assert found["not_compared"]["expired"] > 0
    shown = await ask(stack, *RESET, "--to-earliest")
    going = [one for one in shown["partitions"] if one["target"] is not None]
    assert {one["unsafe"] for one in going} == {True}


def users(stack: Stack) -> set[str]:
    """The ledger keys of the end users that it knows."""
    entries = stack.ledger()
    return {key for (_, key), entry in entries.items() if isinstance(entry, UserEntry)}
