"""What happens to a release in its life. An act returns what it has measured."""

import asyncio
import json
import re
import signal
import time
from typing import Any

import pytest
from operator_kinds import definitions
from stack import RESTARTED
from test_dashboards import VARIABLES
from waiting import until

from stream.devtools.demo import judge_all
from tests.cluster import TESTS
from tests.cluster.node import NAME, NAMESPACE
from tests.cluster.observing import PodPrometheus
from tests.cluster.parts import TAG
from tests.cluster.world import (
    ASK_S,
    RELEASE,
    SECRET,
    WORKERS,
    CommandError,
    World,
    send,
)

EVENTS = 5_000
SOME = 500
FIRST, SECOND = f"{WORKERS}-0", f"{WORKERS}-1"
"""A rollout begins with the second."""
NEXT_TAG = f"{TAG.rpartition(':')[2]}-next"
CHANGED = {"WOOTRIC__IN_FLIGHT_MAX": 8}
KILLED = 128 + signal.SIGKILL
LOW = "48Mi"
ROTATED = "another-secret-of-tests"
DOCS = TESTS.parent / "docs"
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TUTORIAL = re.compile(r"^<!-- cluster -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STEPS_S = 1800.0
TRAP = "trap 'kill $(jobs -p)' EXIT\n"
SETTLED = f"until kubectl exec {FIRST} -- wootric-stream trace m2; do sleep 1; done\n"
"""The page leaves the reader time before it looks."""
KINDS = (
    *("all", "configmaps", "controllerrevisions", "endpointslices", "leases", "networkpolicies"),
    *("persistentvolumeclaims", "poddisruptionbudgets", "secrets", "serviceaccounts"),
)
LOOK = """
import json, os
found = {"user": os.getuid(), "groups": os.getgroups(), "writable": []}
for folder in ("/", "/opt/wootric-stream", "/etc/wootric-stream/wootric"):
    if os.access(folder, os.W_OK):
        found["writable"].append(folder)
with open("/etc/wootric-stream/wootric/client-id") as file:
    found["client_id"] = file.read()
with open("/proc/self/status") as file:
    status = dict(line.split(":", 1) for line in file)
found["capabilities"] = int(status["CapEff"], 16)
found["seccomp"] = int(status["Seccomp"])
print(json.dumps(found))
"""
"""What a container is allowed, as the kernel says it to a process in it."""
POST = """
import sys, urllib.error, urllib.request
headers = {"Content-Type": "application/json", "X-Signature": "0" * 40}
request = urllib.request.Request(sys.argv[1], b"{}", headers)
try:
    print(urllib.request.urlopen(request).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
RESTRICTED = {
    "user": 10001,
    "groups": [10001],
    "writable": [],
    "client_id": "a-client",
    "capabilities": 0,
    "seccomp": 2,
}


async def install(world: World) -> str:
    """The hooks make the topics and look at Wootric, two restricted workers run."""
    await world.release("install", world.values(), "--wait")
    await world.until_ready(2)
    topics = world.stack.admin.list_topics(timeout=10).topics
    config = world.stack.config
    for topic in (config.topic, config.ledger_topic, config.dead_letter_topic, config.parked_topic):
        assert len(topics[topic].partitions) == world.stack.partitions, topic
    assert await world.get("jobs") == [], "a hook's Job is left"
    found = json.loads(await world.inside(f"{WORKERS}-0", "python3", "-c", LOOK))
    assert found == RESTRICTED, found
    await world.helm("test", RELEASE, "--timeout=10m")
    return "2 restricted workers; helm test passed"


async def deliver(world: World) -> str:
    """Two workers deliver 5,000 events."""
    await world.publish(EVENTS)
    await world.settle()
    counts = await world.restarts()
    assert set(counts.values()) == {0}, counts
    return f"{EVENTS:,} events"


async def upgrade(world: World) -> str:
    """A rolling upgrade to another image and a changed setting, under load."""
    values = world.values(**CHANGED)
    values["image"]["tag"] = NEXT_TAG
    async with world.load():
        await world.release("upgrade", values, "--wait")
        await world.until_ready(2)
    assert await _running(world) == {(NEXT_TAG, "8")}
    return "two pods, one after the other"


async def rollback(world: World) -> str:
    """`helm rollback` to the release before, under load."""
    async with world.load():
        await world.helm("rollback", RELEASE, "--wait", "--timeout=30m")
        await world.until_ready(2)
    assert await _running(world) == {(TAG.rpartition(":")[2], "")}
    return "two pods, one after the other"


async def force(world: World) -> str:
    """`kubectl delete pod --force` under load: the next pod of the name may meet the last."""
    before = await world.pods()
    async with world.load():
        await world.until_flowing()
        began_at = time.time()
        await world.kubectl("delete", "pod", FIRST, "--force", "--grace-period=0")
        await world.until_ready(2)
    assert _uid((await world.pods())[FIRST]) != _uid(before[FIRST])
    return f"every partition sends again after {await world.silence_s(began_at):.0f} s"


async def observe(world: World) -> str:
    """Prometheus scrapes the workers as the chart's PodMonitor says, and a panel shows them."""
    definition = definitions()["PodMonitor"]
    await world.kubectl("apply", "--server-side", "--filename=-", given=definition)
    name = definition["metadata"]["name"]
    await world.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=10m")
    monitored = {**world.values(), "metrics": {"podMonitor": {"enabled": True}}}
    await world.release("upgrade", monitored, "--wait")
    monitor = await world.get("podmonitor", WORKERS)
    folder = world.stack.folder / "prometheus"
    folder.mkdir()
    async with world.load():
        await world.until_flowing()
        with PodPrometheus(folder, monitor, await world.get("pods")) as prometheus:
            await asyncio.to_thread(prometheus.until_scraping)
            await asyncio.to_thread(prometheus.until_seen)
            pods = {sample["metric"]["pod"] for sample in prometheus.query("up == 1")}
            assert pods == {FIRST, SECOND}, pods
            broken = [rule for rule in prometheus.rules() if rule["health"] != "ok"]
            assert not broken, broken
            lines = await asyncio.to_thread(_behind, prometheus, f"{NAMESPACE}/{WORKERS}")
    assert lines == {str(number) for number in range(world.stack.partitions)}, lines
    await world.release("upgrade", world.values(), "--wait")
    return f"{len(pods)} targets; the dashboard shows {len(lines)} partitions"


async def reach(world: World) -> str:
    """A worker reaches the bridge by the Service's name; a wrong signature publishes nothing."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "bridge"},
        "stringData": {"shared-secret": "another-secret-of-tests"},
    }
    await world.kubectl("apply", "--filename=-", given=secret)
    bridged = {**world.values(), "bridge": {"enabled": True, "existingSecret": "bridge"}}
    await world.release("upgrade", bridged, "--wait")
    url = f"http://{WORKERS}-bridge.{NAMESPACE}/v1/events"
    for pod in (FIRST, SECOND):
        said = await world.inside(pod, "python3", "-c", POST, url)
        assert said.strip() == "401", said
    service = await world.get("service", f"{WORKERS}-bridge")
    await world.release("upgrade", world.values(), "--wait")
    await world.kubectl("delete", "secret", "bridge")
    await world.until_ready(2)
    return f"{service['spec']['clusterIP']} answers by its name"


async def drain(world: World) -> str:
    """`kubectl drain` of the node: one pod leaves, and the other only once that one is back."""
    before = {name: _uid(pod) for name, pod in (await world.pods()).items()}
    component = "--pod-selector=app.kubernetes.io/component=worker"
    options = ("--delete-emptydir-data", "--ignore-daemonsets", component)
    async with world.load():
        await world.until_flowing()
        draining = asyncio.create_task(world.kubectl("drain", NAME, *options))

        async def one_waits() -> bool:
            pods = await world.pods()
            world.seen = {name: json.dumps(pod["status"]) for name, pod in pods.items()}
            return [pod["status"]["phase"] for pod in pods.values()].count("Pending") == 1

        await until(one_waits, "an evicted pod finds no node", world.moves, every_s=ASK_S)
        await world.until_flowing()
        assert not draining.done(), draining.result()
        stayed = [name for name, pod in (await world.pods()).items() if _uid(pod) == before[name]]
        assert len(stayed) == 1, stayed
        await world.kubectl("uncordon", NAME)
        await draining
        await world.until_ready(2)
    after = {name: _uid(pod) for name, pod in (await world.pods()).items()}
    assert not set(after.values()).intersection(before.values())
    return "the budget kept one worker on the cordoned node"


async def evict(world: World) -> str:
    """Evictions by the API: one is granted, the other waits for the budget."""
    grace_s = (await world.pods())[FIRST]["spec"]["terminationGracePeriodSeconds"]
    took: list[float] = []
    async with world.load():
        await world.until_flowing()
        for name, other in ((FIRST, SECOND), (SECOND, FIRST)):
            uid = _uid((await world.pods())[name])
            began_at = time.monotonic()
            await _evict(world, name)
            with pytest.raises(CommandError, match="disruption budget"):
                await _evict(world, other)
            await _until_gone(world, name, uid)
            took.append(time.monotonic() - began_at)
            await world.until_ready(2)
    assert max(took) < grace_s, took
    return f"SIGTERM to gone: {max(took):.1f} s of {grace_s}"


async def scale(world: World) -> str:
    """From 2 workers to 4, to 1 and back, under load."""
    async with world.load():
        for workers in (4, 1, 2):
            await world.kubectl("scale", f"statefulset/{WORKERS}", f"--replicas={workers}")
            await world.until_ready(workers)
    return "4, 1, 2 workers"


async def kill(world: World) -> str:
    """The container's process is killed with -9, under load."""
    return await _end_process(world, signal.SIGKILL)


async def freeze(world: World) -> str:
    """The process is stopped by SIGSTOP until the liveness probe has it started again."""
    return await _end_process(world, signal.SIGSTOP)


async def oom(world: World) -> str:
    """A memory limit that is too low: the rollout stops at the first pod, the other delivers."""
    low = world.values()
    low["resources"] = {"requests": {"cpu": "50m", "memory": LOW}, "limits": {"memory": LOW}}
    untouched = _uid((await world.pods())[FIRST])
    async with world.load():
        await world.release("upgrade", low)

        async def killed() -> bool:
            pods = await world.pods()
            world.seen = {name: json.dumps(pod["status"]) for name, pod in pods.items()}
            return SECOND in pods and "OOMKilled" in json.dumps(pods[SECOND]["status"])

        await until(killed, "the pod is killed for its memory", world.moves, every_s=ASK_S)
        await world.until_flowing()
        assert _uid((await world.pods())[FIRST]) == untouched, "the rollout went on"
        await world.release("upgrade", world.values(), "--wait")
        await world.until_ready(2)
    return "OOMKilled; healed by the next upgrade"


async def rotate(world: World) -> str:
    """The secret changes in the API: the files follow, the workers log in with it."""
    before = {name: _uid(pod) for name, pod in (await world.pods()).items()}
    restarts = await world.restarts()
    async with world.load():
        await world.until_flowing()
        world.wootric.behaviour = world.wootric.behaviour.changed({"client_secret": ROTATED})
        world.wootric.revoke_tokens()
        began_at = time.monotonic()
        await world.kubectl("apply", "--filename=-", given=world.secret(ROTATED))
        for name in before:
            await _until_file(world, name, ROTATED)
        took_s = time.monotonic() - began_at
        await world.until_flowing()
    assert {name: _uid(pod) for name, pod in (await world.pods()).items()} == before
    assert await world.restarts() == restarts
    return f"files followed within {took_s:.0f} s, no restart"


async def operate(world: World) -> str:
    """The toolbox and its Jobs, by the commands of the documents; a replay has no second effect."""
    await world.publish(SOME)
    await world.settle()
    await world.release("upgrade", {**world.values(), "toolbox": {"enabled": True}}, "--wait")
    await world.until_ready(2)
    page = (DOCS / "how-to" / "operate" / "toolbox.md").read_text()
    in_pod, stopped, as_job = SHELL.findall(page)
    await world.shell(in_pod.replace("MESSAGE_ID", _message_of(world)))
    await world.shell(stopped)
    await world.until_ready(3)
    await world.kubectl("scale", f"statefulset/{WORKERS}", "--replicas=0")
    for command in as_job.splitlines():
        await world.shell(command)
        for job in re.findall(r"create job (\S+)", command):
            await world.until_complete(job)
    await world.release("upgrade", world.values(), "--wait")
    await world.kubectl("scale", f"statefulset/{WORKERS}", "--replicas=2")
    await world.until_ready(2)
    commands = [*in_pod.splitlines(), *stopped.splitlines(), *as_job.splitlines()]
    return f"{len(commands)} commands"


async def tutorial(world: World) -> str:
    """The tutorial from Segment to Wootric, in a namespace of its own."""
    page = (DOCS / "tutorials" / "segment-to-wootric.md").read_text()
    install, send, answer, follow = TUTORIAL.findall(page)
    script = f"{TRAP}{install}{send}{answer}{SETTLED}{follow}"
    async with world.namespace("tutorial") as environment:
        kafka = world.stack.bootstrap_servers
        printed = await asyncio.wait_for(world.shell(script, KAFKA=kafka, **environment), STEPS_S)
    state, status = _objects(printed)[-2:]
    (user,) = state["end_users"]
    (response,) = state["responses"]
    assert (user["email"], user["properties"]["plan"]) == ("nina@example.com", "pro"), user
    assert (response["score"], response["text"]) == (9, "Works"), response
    assert status["partitions"], status
    return "a response at Wootric"


async def uninstall(world: World) -> str:
    """`helm uninstall` leaves the topics, and in the namespace what was there before."""
    began_at = time.monotonic()
    await world.helm("uninstall", RELEASE, "--wait", "--timeout=10m")

    async def gone() -> bool:
        return not await world.pods()

    await until(gone, "the pods are gone", every_s=ASK_S)
    took_s = time.monotonic() - began_at
    found = await world.kubectl("get", ",".join(KINDS), "--output=name")
    left = set(found.split()) - {"serviceaccount/default", "configmap/kube-root-ca.crt"}
    assert left == {f"secret/{SECRET}"}, left
    assert world.stack.config.ledger_topic in world.stack.admin.list_topics(timeout=10).topics
    return f"gone after {took_s:.0f} s; the topics and the secret stay"


def _behind(prometheus: PodPrometheus, job: str) -> set[str]:
    """The partitions in the on-call dashboard's panel of what is behind."""
    file = TESTS.parent / "helm" / "wootric-destination" / "files" / "dashboards" / "oncall.json"
    (panel,) = (
        panel
        for panel in json.loads(file.read_text())["panels"]
        if panel["title"] == "Behind, by partition"
    )
    found = set()
    for target in panel["targets"]:
        query = target["expr"]
        for name, value in {**VARIABLES, "$job": job}.items():
            query = query.replace(name, value)
        found |= {sample["metric"]["partition"] for sample in prometheus.query(query)}
    return found


def _objects(text: str) -> list[Any]:
    """The JSON objects in a text."""
    found, at = [], text.find("{")
    while at >= 0:
        try:
            value, at = json.JSONDecoder().raw_decode(text, at)
            found.append(value)
        except ValueError:
            at += 1
        at = text.find("{", at)
    return found


def _message_of(world: World) -> str:
    """The id of an event that was published."""
    for event in judge_all(world.stack.published[:100]):
        if event.message_id:
            return event.message_id
    raise AssertionError("no event has an id")


async def _running(world: World) -> set[tuple[str, str]]:
    """The tag and the changed setting of each worker."""
    found = set()
    for name, pod in (await world.pods()).items():
        tag = pod["spec"]["containers"][0]["image"].rpartition(":")[2]
        environment = (await world.inside(name, "env")).splitlines()
        values = dict(line.partition("=")[::2] for line in environment)
        found.add((tag, values.get(next(iter(CHANGED)), "")))
    return found


async def _end_process(world: World, number: signal.Signals) -> str:
    before = (await world.restarts())[SECOND]
    async with world.load():
        await world.until_flowing()
        began_at = send((await world.pods())[SECOND], number)
        ended = await world.until_restarted(SECOND, before)
        took_s = time.time() - began_at
        await world.until_ready(2)
    assert ended["exitCode"] in (KILLED, *RESTARTED), ended  # the next may give up once, too
    silence_s = await world.silence_s(began_at)
    return f"ready again after {took_s:.0f} s, every partition sends after {silence_s:.0f} s"


async def _evict(world: World, pod: str) -> None:
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": NAMESPACE},
    }
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    await world.kubectl("create", f"--raw={path}", "--filename=-", given=eviction)


async def _until_gone(world: World, name: str, uid: str) -> None:
    async def gone() -> bool:
        pod = (await world.pods()).get(name)
        return pod is None or _uid(pod) != uid

    await until(gone, f"{name} is gone", world.moves, every_s=ASK_S)


async def _until_file(world: World, name: str, value: str) -> None:
    async def follows() -> bool:
        path = "/etc/wootric-stream/wootric/client-secret"
        return await world.inside(name, "cat", path) == value

    await until(follows, f"{name} sees the secret", every_s=ASK_S)


def _uid(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["uid"])
