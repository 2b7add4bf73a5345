"""The chart's release on the node, with Kafka and Wootric beside it, and who judges them."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import oracle
import yaml
from stack import Stack
from waiting import until

from sink.wootric.operations import PageView
from stream.devtools.demo import judge_all, latencies
from stream.devtools.traffic import traffic
from stream.devtools.wootric_emulator import Decline, EmulatorState, Response
from stream.engine.prepare import PreparedRecord
from stream.record import Partition
from stream.transform import Deliver
from tests.cluster import TESTS
from tests.cluster.node import NAMESPACE, Node, kubeconfig
from tests.cluster.parts import TAG

RELEASE = "wootric"
WORKERS = f"{RELEASE}-wootric-destination"
SECRET = "wootric"
CHART = TESTS.parent / "helm" / "wootric-destination"
EVENTS_MAX = 1_000_000
USERS = 2_000
CHUNKS_A_SECOND = 5
EFFECTS = 100
"""After so many everything flows."""
ASK_S = 1.0


class CommandError(AssertionError):
    """A command has failed; the message is what it said."""


@dataclass(frozen=True)
class Verdict:
    """What Wootric holds, compared with all that was published.

    ``events`` are the act's, and ``longest_s`` is the longest way of one of their page views from
    Kafka to Wootric.
    """

    events: int
    lost: int
    twice: int
    disorder: int
    longest_s: float
    complaints: list[str]


class World:
    """The release, and the ways to it."""

    def __init__(self, node: Node, stack: Stack, rate: int) -> None:
        self._node, self.stack, self._rate = node, stack, rate
        self._samples = (sample.value for sample in traffic(events=EVENTS_MAX, seed=1, users=USERS))
        self.wootric = stack.wootric
        self.seen: dict[str, object] = {}

    # Commands

    async def kubectl(self, *arguments: str, given: Any = None) -> str:
        """Return what kubectl prints."""
        text = None if given is None else json.dumps(given)
        return await self._run(*self._node.kubectl(*arguments), text=text)

    async def helm(self, *arguments: str) -> str:
        """Return what Helm prints."""
        return await self._run("helm", *arguments, text=None)

    async def get(self, *arguments: str) -> Any:
        """Return an object, or a list's items."""
        found = json.loads(await self.kubectl("get", *arguments, "--output=json"))
        return found["items"] if found["kind"] == "List" else found

    async def shell(self, script: str, **environment: str) -> str:
        """Return what a script prints that is typed in the checkout's folder."""
        command = ("bash", "-euxo", "pipefail", "-c", script)
        return await self._run(*command, text=None, **environment)

    async def _run(self, *command: str, text: str | None, **environment: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**self._node.environment, **environment},
            cwd=TESTS.parent,
            stdin=asyncio.subprocess.PIPE if text else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate(text.encode() if text else None)
        if process.returncode:
            raise CommandError(f"{' '.join(command[1:])[:300]}: {errors.decode()[-2000:]}")
        return output.decode()

    # The release

    async def prepare(self) -> None:
        """Make the namespace, which takes restricted pods only, and the secret."""
        given = self.stack.environment("")
        await self.kubectl("apply", "--filename=-", given=restricted(NAMESPACE))
        await self.kubectl(
            "apply", "--filename=-", given=self.secret(given["WOOTRIC__CLIENT_SECRET"])
        )

    def secret(self, client_secret: str) -> dict[str, Any]:
        """Return the secret with Wootric's credentials."""
        given = self.stack.environment("")
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET},
            "stringData": {
                "account-token": given["WOOTRIC__ACCOUNT_TOKEN"],
                "client-id": given["WOOTRIC__CLIENT_ID"],
                "client-secret": client_secret,
            },
        }

    def values(self, **settings: object) -> dict[str, Any]:
        """Return the release's values, with more settings of the service."""
        given = self.stack.environment("")
        names = ("WOOTRIC__API_URL", "WOOTRIC__PIXEL_URL")
        repository, _, tag = TAG.partition(":")
        return {
            "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
            "replicaCount": 2,
            "kafka": {
                "bootstrapServers": given["KAFKA__BOOTSTRAP_SERVERS"],
                "partitions": self.stack.partitions,
                "topic": self.stack.config.topic,
                "groupId": self.stack.config.group_id,
            },
            "wootric": {"existingSecret": SECRET},
            "settings": {**{name: given[name] for name in names}, **settings},
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        }

    async def release(self, verb: str, values: Mapping[str, Any], *flags: str) -> str:
        """Install or upgrade the release with these values."""
        file = self.stack.folder / "values.json"
        file.write_text(json.dumps(values))
        return await self.helm(
            verb, RELEASE, str(CHART), "--values", str(file), "--timeout=30m", *flags
        )

    async def until_complete(self, job: str) -> None:
        """Return once a Job has succeeded."""

        async def complete() -> bool:
            status = (await self.get("job", job))["status"]
            self.seen = {job: json.dumps(status)}
            assert not status.get("failed"), await self.kubectl("logs", f"job/{job}")
            return bool(status.get("succeeded"))

        await until(complete, f"{job} succeeds", self.moves, every_s=ASK_S)

    @asynccontextmanager
    async def namespace(self, name: str) -> AsyncIterator[dict[str, str]]:
        """Make a namespace for restricted pods; yield the environment that chooses it."""
        await self.kubectl("apply", "--filename=-", given=restricted(name))
        config = self.stack.folder / f"kubeconfig-{name}"
        config.write_text(yaml.safe_dump(kubeconfig(name)))
        yield {"KUBECONFIG": str(config)}
        await self.kubectl("delete", "namespace", name)

    async def pods(self) -> dict[str, Any]:
        """The workers' pods, by name."""
        label = "app.kubernetes.io/component=worker"
        return {pod["metadata"]["name"]: pod for pod in await self.get("pods", f"-l{label}")}

    async def until_ready(self, workers: int) -> None:
        """Return once there are this many workers, all ready and of the newest revision."""

        async def ready() -> bool:
            found = await self.get("statefulset", WORKERS)
            status, pods = found["status"], await self.pods()
            self.seen = {name: _progress(pod) for name, pod in pods.items()}
            return (
                status.get("observedGeneration") == found["metadata"]["generation"]
                and len(pods) == workers == status.get("availableReplicas", 0)
                and status.get("updateRevision") == status.get("currentRevision")
                and all(_is_ready(pod) for pod in pods.values())
            )

        await until(ready, f"{workers} workers are ready", self.moves, every_s=ASK_S)

    def moves(self) -> object:
        """What changes as long as something happens."""
        return len(self.wootric.state.effects), self.stack._committed, self.seen

    async def inside(self, pod: str, *command: str) -> str:
        """Return what a command in a worker's container prints."""
        return await self.kubectl("exec", pod, "--", *command)

    async def restarts(self) -> dict[str, int]:
        """How often each worker's container was started again."""
        return {name: _container(pod)["restartCount"] for name, pod in (await self.pods()).items()}

    async def until_restarted(self, pod: str, before: int) -> dict[str, Any]:
        """Return how the container ended, once it runs again."""
        found: dict[str, Any] = {}

        async def restarted() -> bool:
            nonlocal found
            found = _container((await self.pods())[pod])
            self.seen = {pod: json.dumps(found["state"]), "restarts": found["restartCount"]}
            return bool(found["restartCount"] > before and found["ready"])

        await until(restarted, f"{pod} is started again", self.moves, every_s=ASK_S)
        return dict(found["lastState"]["terminated"])

    # Load

    async def publish(self, events: int) -> None:
        """Publish the next events."""
        await asyncio.to_thread(self.stack.publish, list(islice(self._samples, events)))

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Publish at an even rate meanwhile."""

        async def flow() -> None:
            while True:
                await self.publish(self._rate // CHUNKS_A_SECOND)
                await asyncio.sleep(1 / CHUNKS_A_SECOND)

        flowing = asyncio.create_task(flow())
        try:
            yield
        finally:
            stopping = flowing.done()
            flowing.cancel()
            with suppress(asyncio.CancelledError):
                await flowing
            assert not stopping

    async def until_flowing(self) -> None:
        """Return once Wootric has got some more."""
        effects = self.wootric.state.effects
        wanted = len(effects) + EFFECTS
        await until(lambda: len(effects) >= wanted, "Wootric gets more", self.moves)

    async def settle(self) -> None:
        """Return once all that was published is settled."""
        stack = self.stack
        caught_up: Callable[[], Any] = lambda: asyncio.to_thread(stack.caught_up)  # noqa: E731
        await until(caught_up, "all is settled", self.moves, every_s=ASK_S)

    async def silence_s(self, since: float) -> float:
        """Settle all; return after how many seconds the last partition sent something published
        after ``since``, in Unix seconds.
        """
        await self.settle()
        judged = await asyncio.to_thread(judge_all, self.stack.published)
        views = [{"at": view.at, "random": view.random} for view in self.wootric.state.page_views]
        return silence_s(judged, views, since)

    async def verdict(self, since: float) -> Verdict:
        """Compare what Wootric holds with what was published; ``since`` is when the act began."""
        judgement = await oracle.judge(self.stack)
        judged = await asyncio.to_thread(judge_all, self.stack.published)
        recent = [event for event in judged if event.record.timestamp_ms / 1000 >= since]
        state = self.wootric.state
        views = [{"at": view.at, "random": view.random} for view in state.page_views]
        return Verdict(
            events=len(recent),
            lost=sum(max(0, row.missing - row.parked) for row in judgement.rows),
            twice=sum(row.extra for row in judgement.rows),
            disorder=disorder(state),
            longest_s=max(latencies(recent, views), default=0.0),
            complaints=judgement.complaints(),
        )

    async def evidence(self, folder: Path) -> None:
        """Write down what the cluster knows."""
        folder.mkdir(parents=True, exist_ok=True)
        asked: dict[str, tuple[str, ...]] = {
            "events": ("get", "events", "--sort-by=.lastTimestamp"),
            "objects": ("get", "all,secrets,pdb", "--output=wide"),
            "pods": ("describe", "pods"),
        }
        for name in await self.pods():
            asked[f"{name}.log"] = ("logs", name)
            asked[f"{name}.previous.log"] = ("logs", name, "--previous")
        for name, arguments in asked.items():
            with suppress(CommandError):
                (folder / name).write_text(await self.kubectl(*arguments))


def restricted(name: str) -> dict[str, Any]:
    """Return a namespace that takes restricted pods only."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def disorder(state: EmulatorState) -> int:
    """How many surveys of an end user came behind a later one."""
    latest: dict[int, int] = {}
    found = 0
    surveys: list[Response | Decline] = [*state.responses.values(), *state.declines.values()]
    for one in sorted(surveys, key=lambda survey: survey.id):
        found += one.created_at < latest.get(one.end_user_id, 0)
        latest[one.end_user_id] = max(one.created_at, latest.get(one.end_user_id, 0))
    return found


def silence_s(
    judged: Iterable[PreparedRecord], views: Iterable[Mapping[str, Any]], since: float
) -> float:
    """Return when the last partition's first page view came that was published after a moment.

    Both in Unix seconds, the result from ``since`` on.
    """
    at = {view["random"]: float(view["at"]) for view in views}
    first: dict[Partition, float] = {}
    for event in judged:
        if not isinstance(event.result, Deliver) or event.record.timestamp_ms / 1000 < since:
            continue
        operation, partition = event.result.operation, event.record.partition
        if isinstance(operation, PageView) and operation.random in at:
            arrived = at[operation.random]
            first[partition] = min(arrived, first.get(partition, arrived))
    return max(first.values(), default=since) - since


def processes(pod: Mapping[str, Any]) -> Iterator[int]:
    """The processes of a worker, by their number in the node's namespace."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_worker = b"wootric-stream\0run" in (path / "cmdline").read_bytes()
            if is_worker and pod["metadata"]["uid"] in (path / "cgroup").read_text():
                yield int(path.name)


def send(pod: Mapping[str, Any], number: signal.Signals) -> float:
    """Signal a worker's process; return when, in Unix seconds."""
    (process,) = processes(pod)
    os.kill(process, number)
    return time.time()


def _container(pod: Mapping[str, Any]) -> Any:
    return pod["status"]["containerStatuses"][0]


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions: Iterable[Mapping[str, str]] = pod["status"].get("conditions", ())
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _progress(pod: Mapping[str, Any]) -> object:
    return pod["metadata"]["uid"], json.dumps(pod["status"])
