"""status: lag and rates of the group from Kafka, and the status reported by its workers."""

import itertools
import time
import urllib.request
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stream.codec.json_text import escaped
from stream.kafka.config import KafkaConfig
from stream.kafka.lag import GroupLag, LagMeter, blocked_text
from stream.operations.output import json_document, json_line, print_data
from stream.settings import HttpSettings
from stream.telemetry.status import (
    BEHIND_S,
    blocked_by_transaction,
    counted,
    headroom_s,
    lasting,
    paused_by_operator,
)

ANSWER_S = 2.0
EVERY_S = 1.0
HISTORY = 60


@dataclass(frozen=True, slots=True)
class Workers:
    """Where workers are asked for their status. A ``guessed`` URL that does not answer is left out;
    ``http`` has the bearer token, if they want one.
    """

    urls: Sequence[str]
    guessed: bool
    http: HttpSettings

    def ask(self) -> list[dict[str, Any]]:
        """Return the URLs with the workers' status, or with the error."""
        token = self.http.bearer_token
        headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
        answers = [_worker(url, headers) for url in self.urls]
        return [one for one in answers if not (self.guessed and "error" in one)]


@dataclass(slots=True)
class GroupStatus:
    """Measures the group repeatedly; rates are those between the last two measurements."""

    config: KafkaConfig
    meter: LagMeter
    workers: Workers
    history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    _last: tuple[float, int, int] | None = None

    def measure(self) -> dict[str, Any]:
        """Return the current status of the group, as printed with ``--json``.

        Raises:
            KafkaUnavailableError: Kafka did not answer.
        """
        group = self.meter.measure()
        arriving, settling = self._rates(group)
        workers = self.workers.ask()
        answered = [worker["status"] for worker in workers if "status" in worker]
        level, summary = verdict(group, answered)
        ages = [one.lag_s for one in group.partitions if one.lag_s is not None]
        headroom = headroom_s(group.retention_ms, max(ages, default=0.0))
        return {
            "verdict": level,
            "summary": summary,
            "group": self.config.group_id,
            "topic": self.config.topic,
            "state": group.state,
            "unanswered_partitions": list(group.unanswered),
            "members": list(group.members),
            "lag_records": sum(one.lag for one in group.partitions),
            "lag_seconds": round(max(ages, default=0.0), 1),
            "retention_headroom_seconds": None if headroom == float("inf") else headroom,
            "arriving_per_s": arriving,
            "settling_per_s": settling,
            "settling_per_s_history": list(self.history),
            "dead_letters": group.kept.get(self.config.dead_letter_topic, 0),
            "parked": group.kept.get(self.config.parked_topic, 0),
            "in_doubt": sum(one["in_doubt"] for one in answered) if answered else None,
            "partitions": [
                {
                    "partition": one.number,
                    "committed": one.committed,
                    "end": one.end,
                    "lag_records": one.lag,
                    "lag_seconds": None if one.lag_s is None else round(one.lag_s, 1),
                    "offset_out_of_range": one.is_lost,
                    "blocked_records": one.blocked,
                    "paused_since": None if one.pause is None else one.pause.since,
                }
                for one in group.partitions
            ],
            "blocked_by_transaction": [
                blocked_text(self.config, self.config.topic, one.number, one.blocked)
                for one in group.partitions
                if one.blocked_s
            ],
            "workers": workers,
        }

    def _rates(self, group: GroupLag) -> tuple[float | None, float | None]:
        now = time.monotonic()
        end = sum(one.end for one in group.partitions)
        committed = sum(max(one.next_offset, one.begin) for one in group.partitions)
        last, self._last = self._last, (now, end, committed)
        if last is None:
            return None, None
        passed_s = now - last[0]
        settling = round((committed - last[2]) / passed_s, 1)
        self.history.append(max(0.0, settling))
        return round((end - last[1]) / passed_s, 1), settling


def verdict(group: GroupLag, workers: Iterable[dict[str, Any]]) -> tuple[str, str]:
    """Return ``bad``, ``warn`` or ``ok``, and a summary of the most urgent problem."""
    lag = sum(one.lag for one in group.partitions)
    lag_s = max((one.lag_s or 0.0 for one in group.partitions), default=0.0)
    if broken := _broken_partitions(group):
        return "bad", broken
    if not group.members:
        return (
            ("bad", f"No worker is running; {counted(lag, 'event')} waiting")
            if lag
            else ("warn", "No worker is running; no event is waiting")
        )
    urgent = [(one["verdict"], f"{one['instance']}: {one['summary']}") for one in workers]
    if pauses := [one.pause for one in group.partitions if one.pause is not None]:
        urgent.insert(0, ("warn", paused_by_operator(pauses)))
    for level in ("bad", "warn"):
        for one_level, text in urgent:
            if one_level == level:
                return level, text
    if blocked := [(one.blocked, one.blocked_s) for one in group.partitions if one.blocked_s]:
        text = blocked_by_transaction(blocked)
        return "bad" if max(one for _, one in blocked) > BEHIND_S else "warn", text
    if lag_s > BEHIND_S:
        return "warn", f"{lasting(lag_s)} behind: {counted(lag, 'event')} waiting"
    return "ok", f"Processing, {counted(lag, 'event')} not settled" if lag else "Caught up"


def _broken_partitions(group: GroupLag) -> str:
    """Return what keeps partitions from being read by any worker; empty if nothing does."""
    if group.unanswered:
        return f"Kafka does not answer about partition {_listed(group.unanswered)}"
    lost = [one.number for one in group.partitions if one.is_lost]
    return f"Committed offsets are outside the topic: partition {_listed(lost)}" if lost else ""


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _worker(url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the URL with the worker's status, or with the error."""
    asked = urllib.request.Request(f"{url.rstrip('/')}/status", headers=dict(headers))  # noqa: S310  the operator's own address
    try:
        with urllib.request.urlopen(asked, timeout=ANSWER_S) as reply:  # noqa: S310
            return {"url": url, "status": orjson.loads(reply.read())}
    except (OSError, ValueError) as error:
        return {"url": url, "error": type(error).__name__}


def overview(config: KafkaConfig, workers: Workers) -> Iterator[dict[str, Any]]:
    """Yield a measurement per second.

    Raises:
        KafkaUnavailableError: Kafka did not answer.
    """
    group = GroupStatus(config, LagMeter(config), workers)
    while True:
        started_at = time.monotonic()
        yield group.measure()
        time.sleep(max(0.0, EVERY_S - (time.monotonic() - started_at)))


# Output


TONES = {"ok": "green", "warn": "yellow", "bad": "bold red"}
BARS = "▁▂▃▄▅▆▇█"


def watch_status(measurements: Iterator[dict[str, Any]], *, watch: bool, as_json: bool) -> None:
    """Print every measurement with ``watch``; else only the second, the first that has rates."""
    console = Console()
    if not watch:
        measurements = itertools.islice(measurements, 1, 2)
    if watch and console.is_terminal and not as_json:
        with Live(console=console, screen=True) as live:
            for found in measurements:
                live.update(render(found), refresh=True)
        return
    for found in measurements:
        if as_json:
            text = json_line(found) if watch else json_document(found)
        else:
            with console.capture() as captured:
                console.print(render(found))
            text = captured.get().removesuffix("\n")
        if not print_data(text):
            return


def sparkline(values: Sequence[float]) -> str:
    """Return one bar per value; the highest value is a full bar."""
    top = max(values, default=0.0)
    return "".join(BARS[round(value / top * (len(BARS) - 1)) if top else 0] for value in values)


def render(found: dict[str, Any]) -> RenderableType:
    """Return the measurement for the terminal."""
    head = Text(escaped(found["summary"]), style=TONES[found["verdict"]])
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(found):
        facts.add_row(Text(name, style="dim"), Text(escaped(value)))
    parts: list[RenderableType] = [head, facts, _partitions(found["partitions"])]
    parts += [Text(escaped(text)) for text in found["blocked_by_transaction"]]
    if found["workers"]:
        parts.append(_workers(found["workers"]))
    return Group(*parts)


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    members = ", ".join(found["members"]) or "none"
    in_doubt = (
        "unknown; name a worker with --url"
        if found["in_doubt"] is None
        else f"{found['in_doubt']:,}"
    )
    return [
        ("group", f"{found['group']} on {found['topic']}: {found['state']}, members {members}"),
        ("behind", f"{found['lag_records']:,} records, {lasting(found['lag_seconds'])}"),
        ("arriving", _rate(found["arriving_per_s"])),
        (
            "settling",
            f"{_rate(found['settling_per_s'])}  {sparkline(found['settling_per_s_history'])}",
        ),
        ("in doubt", in_doubt),
        ("dead letters", f"about {found['dead_letters']:,}"),
        ("parked", f"about {found['parked']:,}"),
    ]


def _rate(per_s: float | None) -> str:
    return "unknown yet" if per_s is None else f"{per_s:,.0f}/s"


def _partitions(partitions: Sequence[dict[str, Any]]) -> Table:
    table = Table("partition", box=None, header_style="dim", pad_edge=False)
    for name in ("committed", "end", "behind", "oldest"):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in partitions:
        oldest = "?" if one["lag_seconds"] is None else lasting(one["lag_seconds"])
        committed = "never" if one["committed"] is None else f"{one['committed']:,}"
        style = "bold red" if one["offset_out_of_range"] else ""
        row = (committed, f"{one['end']:,}", f"{one['lag_records']:,}", oldest)
        paused = "" if one["paused_since"] is None else f"paused since {one['paused_since']}"
        table.add_row(str(one["partition"]), *row, paused, style=style)
    return table


def _workers(workers: Sequence[dict[str, Any]]) -> Table:
    table = Table("worker", "status", "in flight", "settling", box=None, header_style="dim")
    table.pad_edge = False
    for worker in workers:
        if "error" in worker:
            error = Text(escaped(f"no answer: {worker['error']}"), style="red")
            table.add_row(Text(escaped(worker["url"])), error, "", "")
            continue
        one = worker["status"]
        summary = Text(escaped(one["summary"]), style=TONES[one["verdict"]])
        line = sparkline(one["settled_per_s_history"])
        table.add_row(
            Text(escaped(one["instance"])),
            summary,
            f"{one['in_flight']:,}",
            f"{_rate(one['settled_per_s'])} {line}",
        )
    return table
