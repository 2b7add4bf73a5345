"""Who is on call: reads a runbook, and does what stands there to a release.

A release is a stack whose workers are started again when they end, as a kubelet does. Its
commands of kubectl are mapped to what they mean here, those of `wootric-stream` are run.
"""

import asyncio
import os
import re
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from prometheus import Prometheus
from quick_rules import quick
from rendering import one, render
from stack import Stack, Worker
from test_runbooks import FOLDER, TOOLBOX, copied, parts
from waiting import SLOWNESS, until

FACTOR = 60
"""A minute of the rules is a second."""
BACK_OFF_S = 1.0
LAG_EXPORTER = (sys.executable, "-m", "stream", "lag-exporter", "--every", "1")
ITEM = re.compile(r"^(?:\* |\d+\. )", re.MULTILINE)
ELSEWHERE = re.compile(r"\]\((\.\./how-to/[\w/.-]+\.md)#([\w-]+)\)")


def steps(alert: str, part: str, about: str = "") -> list[str]:
    """Return the commands of a part of the alert's runbook, of the items that say ``about``.

    Items without commands that refer to a section of a guide have those of the section.
    """
    found = [item for item in ITEM.split(parts(alert)[part]) if about in item]
    assert found, f"{alert}: nothing about {about}"
    commands = [command for item in found for command in copied(item)]
    if about and not commands:
        guides = [one for item in found for one in ELSEWHERE.findall(item)]
        commands = [c for page, anchor in guides for c in copied(section(FOLDER / page, anchor))]
    assert commands or not about, f"{alert}: no command about {about}"
    return commands


def section(page: Path, anchor: str) -> str:
    """Return the text below the heading with this anchor."""
    _, *pairs = re.split(r"^## (.*)$", page.read_text(), flags=re.MULTILINE)
    texts = dict(zip(pairs[::2], pairs[1::2], strict=True))
    return next(text for title, text in texts.items() if title.lower().replace(" ", "-") == anchor)


@dataclass
class Release:
    """Workers that are kept running. ``examples`` says what stands for words of the commands."""

    stack: Stack
    workers: list[Worker]
    exporter: Worker
    settings: Mapping[str, str]
    write_secret: Callable[[], None] | None = None
    examples: dict[str, str] = field(default_factory=dict)
    wanted: bool = True
    moved: list[Callable[[dict[str, int]], None]] = field(default_factory=list)
    """Who is told where the processes are, when one has been replaced."""

    @property
    def targets(self) -> dict[str, int]:
        """The ports of the processes, by name."""
        return {one.log.stem: one.port for one in (*self.workers, self.exporter)}

    @asynccontextmanager
    async def installed(self) -> AsyncIterator[None]:
        """Keep the workers running."""
        task = asyncio.create_task(self._keep_running())
        try:
            yield
        finally:
            task.cancel()

    async def _keep_running(self) -> None:
        while True:
            for worker in (self.exporter, *(self.workers if self.wanted else ())):
                if not worker.lives:
                    worker.start()
            await asyncio.sleep(BACK_OFF_S)

    async def until_ready(self) -> None:
        """Return once all workers are."""
        for worker in self.workers:
            await until(lambda one=worker: one.lives, f"{worker.log.stem} starts")
            await worker.until_ready()

    async def do(self, commands: list[str]) -> None:
        """Do what a runbook says.

        Raises:
            AssertionError: a command fails, or it is not known what it means here.
        """
        for command in commands:
            code, said = await self._run(command)
            assert code == 0, f"{command}: {code}\n{said}"

    async def look(self, commands: list[str]) -> str:
        """Run commands that only look, and return what they say; they may find faults."""
        text = ""
        for command in commands:
            code, said = await self._run(command)
            assert code != 2, f"{command}: {said}"
            assert "Traceback" not in said, said
            text += said
        return text

    async def _run(self, command: str) -> tuple[int, str]:
        for example, real in self.examples.items():
            command = command.replace(example, real)
        if inside := TOOLBOX.fullmatch(command):
            return await self._toolbox(shlex.split(inside[1]))
        match shlex.split(command):
            case ["kubectl", "scale", *_, "statefulset/RELEASE", replicas]:
                await self._scale(wanted=replicas != "--replicas=0")
            case ["kubectl", "rollout", "restart", *_, "statefulset/RELEASE"]:
                await self._restart()
            case ["kubectl", "edit", "secret", *_] if self.write_secret:
                self.write_secret()
            case ["helm", "upgrade", *_, "--set-string", value] if value.startswith("settings."):
                self._set(*value.removeprefix("settings.").split("=", 1))
                await self._restart()
            case ["helm", "upgrade", *_, "--set", "resources.limits.memory=2Gi"]:
                await self._restart()
            case ["kubectl", "delete", "pod", *_, pod, "--grace-period=0", "--force"]:
                await self._replace(int(pod.removeprefix("RELEASE-")))
            case ["kubectl", "get" | "describe" | "logs" | "top", *_] | [
                "kafka-topics.sh",
                *_,
                "--unavailable-partitions",
            ]:
                pass
            case _:
                raise AssertionError(f"nobody knows what this means here: {command}")
        return 0, ""

    async def _toolbox(self, arguments: list[str]) -> tuple[int, str]:
        """Run a command with the settings of the workers."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "stream", *map(self._located, arguments)),
            env={**os.environ, **self.stack.environment("operator"), **self.settings},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()

    def _located(self, argument: str) -> str:
        def address(found: re.Match[str]) -> str:
            return f"http://127.0.0.1:{self.workers[int(found[1])].port}"

        return re.sub(r"http://RELEASE-(\d)\.RELEASE:8080", address, argument)

    async def _restart(self) -> None:
        await self._scale(wanted=False)
        await self._scale(wanted=True)

    async def _replace(self, number: int) -> None:
        """Start another process of the same name; the old one is forgotten, not ended."""
        name = self.workers[number].log.stem
        self.workers[number] = self.stack.worker(name, **self.settings)
        await self.until_ready()
        for moved in self.moved:
            moved(self.targets)

    def _set(self, name: str, value: str) -> None:
        for worker in self.workers:
            worker._environment[name] = value

    async def _scale(self, *, wanted: bool) -> None:
        """Stop the workers, or return when they are ready."""
        self.wanted = wanted
        if wanted:
            return
        for worker in self.workers:
            if worker.lives:
                await asyncio.to_thread(worker.stop)


def release(stack: Stack, replicas: int = 1, **settings: str) -> Release:
    """Return a release of so many workers, that is not installed yet."""
    workers = [stack.worker(f"w-{number}", **settings) for number in range(replicas)]
    exporter = stack.worker("exporter", command=LAG_EXPORTER, **settings)
    return Release(stack, workers, exporter, settings)


@asynccontextmanager
async def watched(release: Release, folder: Path) -> AsyncIterator["Pager"]:
    """Install the release, and let a Prometheus watch it by the rules that the chart renders."""
    rules = folder / "rules.yaml"
    document = one("PrometheusRule", render("--set", "metrics.prometheusRule.enabled=true"))
    rules.write_text(yaml.safe_dump({"groups": quick(document["spec"]["groups"], FACTOR)}))
    async with release.installed():
        await release.until_ready()
        with Prometheus(folder, [rules], release.targets) as prometheus:
            release.moved.append(prometheus.retarget)
            await asyncio.to_thread(prometheus.until_scraping)
            yield Pager(prometheus)


@dataclass(frozen=True)
class Pager:
    """What has been sent to whoever is on call."""

    prometheus: Prometheus

    async def until_fires(self, alert: str, **labels: str) -> Mapping[str, str]:
        """Return the labels of the alert, once it fires."""
        found: list[Mapping[str, str]] = []

        async def fires() -> bool:
            wanted = {"alertname": alert, **labels}.items()
            found[:] = [one for one in await self.firing() if wanted <= one.items()]
            return bool(found)

        await until(fires, f"{alert} fires", every_s=SLOWNESS)
        return found[0]

    async def until_ends(self, *alerts: str) -> None:
        """Return once none of the alerts fires."""
        names: set[str] = set()

        async def ended() -> bool:
            names.clear()
            names.update(one["alertname"] for one in await self.firing())
            return not names & set(alerts)

        await until(ended, f"{alerts} end", lambda: frozenset(names), every_s=SLOWNESS)

    async def until_recorded(self, expression: str) -> None:
        """Return once a query has a result."""

        async def recorded() -> bool:
            return bool(await asyncio.to_thread(self.prometheus.query, expression))

        await until(recorded, expression, every_s=SLOWNESS)

    async def pages(self, since: float) -> set[str]:
        """Return the alerts that have woken somebody since that moment, in Unix seconds."""
        fired = f'ALERTS{{alertstate="firing",severity="page"}}[{time.time() - since:.0f}s]'
        found = await asyncio.to_thread(self.prometheus.query, f"max_over_time({fired})")
        return {one["metric"]["alertname"] for one in found}

    async def description(self, alert: str) -> str:
        """Return what the first of the alerts that fire tells."""
        rules = await asyncio.to_thread(self.prometheus.rules)
        active = next(rule["alerts"] for rule in rules if rule["name"] == alert)
        return str(active[0]["annotations"]["description"])

    async def firing(self) -> list[Mapping[str, str]]:
        """Return the labels of all alerts that fire."""
        found = await asyncio.to_thread(self.prometheus.query, 'ALERTS{alertstate="firing"}')
        return [one["metric"] for one in found]
