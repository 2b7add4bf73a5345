"""What the account is asked, and how often: the service on Kafka, by the emulator's journal."""

import asyncio
from collections import Counter
from functools import partial
from typing import Any

import pytest
from stack import Stack, Worker
from test_service import PATIENT
from waiting import stretched, until

from stream.devtools.wootric_emulator import Behaviour, LateEffect

USERS = 30


def identify(user: int, message: str, **traits: object) -> dict[str, Any]:
    return {
        "type": "identify",
        "messageId": message,
        "userId": f"u{user}",
        "traits": {"email": f"u{user}@example.com", **traits},
    }


def page(user: str, message: str) -> dict[str, Any]:
    return {
        "type": "page",
        "messageId": message,
        "userId": user,
        "properties": {"url": "https://example.com/"},
    }


class Meter:
    """Counts the requests that came since it was read last, without those for tokens."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._seen = 0

    def read(self) -> dict[str, int]:
        entries = self._stack.wootric.journal.entries
        new, self._seen = entries[self._seen :], len(entries)
        names = (
            "pixel" if entry.path == "/pixel.gif" else entry.method
            for entry in new
            if entry.path != "/oauth/token"
        )
        return dict(Counter(names))


async def test_no_request_is_made_that_need_not_be(stack: Stack) -> None:
    """New: two requests; changed: one; unchanged: none; unknown page views: one for all of them.

    A kill -9 in between costs nothing more: what is known lies in the ledger.
    """
    meter, worker = Meter(stack), stack.worker(**PATIENT)
    worker.start()
    await publish(stack, [identify(n, f"new{n}", plan="free") for n in range(USERS)])
    assert meter.read() == {"GET": USERS, "POST": USERS}
    await publish(stack, [page("nobody", f"page{n}") for n in range(5)])
    assert meter.read() == {"GET": 1}
    worker.kill()
    worker.start()
    await publish(stack, [identify(n, f"same{n}", plan="free") for n in range(USERS)])
    await publish(stack, [page("nobody", f"again{n}") for n in range(5)])
    assert meter.read() == {}
    await publish(stack, [identify(n, f"changed{n}", plan="pro") for n in range(USERS)])
    await publish(stack, [page(f"u{n}", f"view{n}") for n in range(USERS)])
    assert meter.read() == {"PUT": USERS, "pixel": USERS}
    assert {tuple(u.properties.items()) for u in stack.wootric.state.end_users.values()} == {
        (("plan", "pro"),)
    }
    assert worker.stop() == 0


async def publish(stack: Stack, documents: list[dict[str, Any]]) -> None:
    await asyncio.to_thread(stack.publish, documents)
    await stack.until_caught_up()


@pytest.mark.parametrize("put", ["merge", "replace"])
async def test_a_late_copy_of_an_update_does_not_overwrite_a_newer_one(
    stack: Stack, put: str
) -> None:
    """The reply is lost, the effect comes late, and the newer update waits until it cannot."""
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"put_properties": put})
    worker = stack.worker(**PATIENT, WOOTRIC__QUIET_PERIOD_S=stretched(3))
    worker.start()
    await publish(stack, [identify(1, "m1", plan="free", seats=1)])
    stack.wootric.on("PUT", "/v1/end_users/{id}", LateEffect(after_s=0.4))
    await asyncio.to_thread(stack.publish, [identify(1, "m2", plan="pro", city="Kyiv")])
    counters = stack.wootric.journal.counters
    dropped = ("PUT", "/v1/end_users/{id}", "dropped")
    await until(lambda: counters[dropped], "the update is sent", stack.moved)
    await publish(stack, [identify(1, "m3", plan="team")])
    await until(lambda: len(stack.wootric.state.effects) >= 3, "the late effect has come")
    (user,) = stack.wootric.state.end_users.values()
    assert user.properties == {"plan": "team", "seats": "1", "city": "Kyiv"}
    plans = [e.fields["properties"]["plan"] for e in stack.wootric.state.effects]
    assert plans == ["free", "pro", "team"]
    assert worker.stop() == 0


async def test_wrong_credentials_are_said_and_nothing_is_lost(stack: Stack) -> None:
    """The circuit is open before anything is read; with the right secret all arrives."""
    stack.wootric.behaviour = Behaviour(client_secret="another")
    worker = stack.worker()
    worker.start()
    await asyncio.to_thread(stack.publish, [identify(n, f"m{n}") for n in range(5)])
    await worker.until_logged("partition_opened")
    read = f'wootric_records_consumed_total{{partition="0",topic="{stack.config.topic}"}}'

    async def has_read() -> bool:
        return bool((await worker.metrics()).get(read))

    await until(has_read, "records are read", worker.said)
    await asyncio.sleep(0.5)  # in which nothing may happen
    said = [line for line in worker.logged() if line["level"] == "error"]
    assert {line["event"] for line in said} == {"credentials_refused", "circuit_opened"}
    refusal = next(line for line in said if line["event"] == "credentials_refused")
    assert refusal["error"] == "invalid_client"
    assert refusal["look_at"] == "WOOTRIC__CLIENT_ID and WOOTRIC__CLIENT_SECRET"
    events = [line["event"] for line in worker.logged()]
    assert events.index("circuit_opened") < events.index("partition_opened")
    metrics = await worker.metrics()
    assert metrics['wootric_sink_circuit_open{circuit="api",reason="credentials"}'] == 1
    assert metrics['wootric_sink_token_refusals_total{error="invalid_client"}'] >= 1
    assert {entry.path for entry in stack.wootric.journal.entries} == {"/oauth/token"}
    assert not stack.caught_up()
    assert worker.running.poll() is None
    assert worker.stop() == 0
    assert not stack.read(stack.config.dead_letter_topic)
    assert "a-secret-of-tests" not in worker.log.read_text()
    stack.wootric.behaviour = Behaviour()
    worker.start()
    await stack.until_caught_up()
    assert len(stack.wootric.state.end_users) == 5


async def test_workers_share_the_pace_by_their_partitions(stack: Stack) -> None:
    """One has all of it; of three partitions over two workers, a third and two thirds."""
    pace = {"WOOTRIC__REQUESTS_PER_MINUTE": "900"}
    one, two = (stack.worker(name, **pace) for name in ("w1", "w2"))
    one.start()
    await until_share(900, one)
    two.start()
    await until_share(900, one, two)
    shares = sorted([await share_of(one), await share_of(two)])
    assert shares == pytest.approx([300, 600])
    assert (await one.metrics())['wootric_sink_concurrency_limit{host="api"}'] == 16
    assert [await limited(one), await limited(two)] == [0, 0]
    await asyncio.to_thread(stack.publish, [identify(n, f"m{n}") for n in range(500)])
    for worker in (one, two):
        await until(partial(limited, worker), "the pace holds requests back", worker.said)


async def limited(worker: Worker) -> bool:
    return (await worker.metrics())["wootric_sink_rate_limited"] == 1


async def share_of(worker: Worker) -> float:
    return (await worker.metrics())["wootric_sink_rate_share_per_minute"]


async def until_share(total: float, *workers: Worker) -> None:
    """Return once the workers' shares are these in all, and each has one."""
    for worker in workers:
        await worker.until_ready()
    shares: list[float] = []

    async def shared() -> bool:
        shares[:] = [await share_of(worker) for worker in workers]
        return all(shares) and sum(shares) == pytest.approx(total)

    await until(shared, f"{len(workers)} share {total:g}", lambda: tuple(shares))
