"""Topics that are compacted: refused at the start, and no reason to stop a worker that runs."""

import asyncio

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from segment import bridge
from stack import Stack
from test_service import PATIENT, identify, page
from test_startup import refused, run

from stream.codec.dead_letter import DeadLetter
from stream.devtools.wootric_emulator import Drop


def set_policy(stack: Stack, topic: str, policy: str) -> None:
    entry = ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    stack.admin.incremental_alter_configs([resource])[resource].result()


async def test_compacted_topics_are_refused_with_the_way_out(stack: Stack) -> None:
    """By `topics check`, doctor, the worker and, where it writes, the bridge; all at once."""
    config, environment = stack.config, stack.environment("w1")
    policies = {
        config.topic: "compact",
        config.dead_letter_topic: "compact,delete",
        config.parked_topic: "compact",
    }
    for topic, policy in policies.items():
        set_policy(stack, topic, policy)
    commands = {
        topic: f"--entity-name {topic} --alter --add-config cleanup.policy=delete`"
        for topic in policies
    }
    checked = run("topics", "check", env=environment)
    assert checked.returncode == 1
    code, refusal = refused(stack)
    assert code == 78
    doctor = run("doctor", env=environment)
    assert doctor.returncode == 78
    for said in (checked.stdout.decode(), refusal, doctor.stdout.decode()):
        assert all(command in said for command in commands.values())
    gate = bridge(stack)
    gate.start()
    assert await gate.until_ended() == 78
    assert commands[config.topic] in gate.text()
    assert commands[config.dead_letter_topic] in gate.text()
    assert commands[config.parked_topic] not in gate.text()
    for topic in policies:
        set_policy(stack, topic, "delete")
    assert run("topics", "check", env=environment).returncode == 0


async def test_records_and_notes_without_a_key_do_not_stop_a_worker_whose_topics_are_compacted(
    stack: Stack,
) -> None:
    """The check is at the start only. A refused dead letter would abort each transaction."""
    worker = stack.worker("w1", **PATIENT)
    worker.start()
    stack.publish([identify(1, "m1")])
    await stack.until_caught_up()
    for topic in (stack.config.dead_letter_topic, stack.config.parked_topic):
        set_policy(stack, topic, "compact")
    stack.wootric.on("GET", "/pixel.gif", Drop(effect=True))
    stack.publish([b"garbage", page(1, "m2"), identify(2, "m3"), b"more garbage"])
    await stack.until_caught_up()
    assert {user.external_id for user in stack.wootric.state.end_users.values()} == {"u1", "u2"}
    messages = stack.read(stack.config.dead_letter_topic)
    assert {message.value() for message in messages} == {b"garbage", b"more garbage"}
    letters = [DeadLetter.from_headers(m.key(), m.value(), m.headers()) for m in messages]
    assert {letter.key for letter in letters} == {None}
    assert len({message.key() for message in messages}) == 2
    assert len(stack.read(stack.config.parked_topic)) == 1
    for arguments in (
        ("dlq", "dismiss"),
        ("in-doubt", "resolve", "--all", "--as", "dismiss"),
    ):
        done = await asyncio.to_thread(run, *arguments, "--yes", env=stack.environment("w1"))
        assert done.returncode == 0, done.stderr
    assert await asyncio.to_thread(worker.stop) == 0
