"""How few requests the service makes of the demo's traffic, beside RudderStack's sequence.

On a simulated clock, with the product's own flow and sink and the emulator's rules.
"""

import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog
from rich.console import Console
from rich.table import Table

from stream.devtools.traffic import Sample, TrafficKind, traffic
from stream.kafka.producer import record_of
from tests.bench.rudderstack import RudderStack
from tests.bench.simulated import Figures, World

EVENTS = 10_000
"""Of the part that is measured; as many come before it."""
PEOPLE = 1_000
PER_MINUTE = 100
OWN_PACE = 5.0  # events a second, as the demo's people have it
SEED = 1
END_USERS = ("find_end_user", "create_end_user", "update_end_user")
PIXEL = "page_view"
WAITING = f"{EVENTS:,} waiting"
SURVEYS = (TrafficKind.RESPONSE, TrafficKind.DECLINE)


@dataclass(frozen=True, slots=True)
class Row:
    """One policy on one traffic. Times in seconds, None where nothing waits."""

    policy: str
    traffic: str
    limit: int | None
    requests: dict[str, int]
    events: int
    identifies: int
    took_s: float
    longest_wait_s: float | None = None

    @property
    def api(self) -> int:
        return sum(n for name, n in self.requests.items() if name not in ("token", PIXEL))

    @property
    def per_identify(self) -> float:
        return sum(self.requests.get(name, 0) for name in END_USERS) / self.identifies


@dataclass(slots=True)
class Trace:
    """The events before, and those that are measured."""

    before: Sequence[Sample]
    measured: Sequence[Sample]
    identifies: int = field(init=False)

    def __post_init__(self) -> None:
        self.identifies = sum(1 for event in documents(self.measured) if is_identify(event))

    @property
    def floor(self) -> tuple[int, int, int]:
        """How many surveys there are, people with something new, and new people."""
        known = {event["userId"] for event in documents(self.before) if is_identify(event)}
        changed = {
            sample.value["userId"] for sample in self.measured if sample.kind is TrafficKind.CHANGED
        }  # type: ignore[index,call-overload]
        surveys = sum(1 for sample in self.measured if sample.kind in SURVEYS)
        return surveys, len(changed), len(changed - known)


def documents(samples: Iterable[Sample]) -> Iterable[dict[str, Any]]:
    return (sample.value for sample in samples if isinstance(sample.value, dict))


def is_identify(event: dict[str, Any]) -> bool:
    return event.get("type") == "identify"


def trace(times: int = 1) -> Trace:
    """Events before, and ``times`` as many to measure."""
    samples = list(traffic(events=(1 + times) * EVENTS, seed=SEED, users=PEOPLE))
    return Trace(samples[:EVENTS], samples[EVENTS:])


def records(samples: Sequence[Sample], per_second: float | None = None) -> Iterable[Any]:
    for number, sample in enumerate(samples):
        key, value = None, sample.value
        if isinstance(value, dict):
            key, value = record_of(json.dumps(value).encode())
        yield (number / per_second if per_second else 0.0, key, value)


def ours(
    of: Trace,
    what: str,
    *,
    pace: float | None,
    limit: int | None,
    own: bool = True,
    cold: bool = False,
) -> Row:
    """Run the service; ``own`` sets its own pace as well, not only the replies' headers."""
    settings = {"requests_per_minute": limit} if limit and own else {}
    with World() as world:
        if not cold:
            world.run(records(of.before))
        figures = world.run(records(of.measured, pace), per_minute=limit, **settings)
    name = "this service" if own or not limit else "this service, told by replies only"
    return Row(
        name,
        what,
        limit,
        named(figures),
        len(of.measured),
        of.identifies,
        figures.took_s,
        max(figures.api_waits_s),
    )


def named(figures: Figures) -> dict[str, int]:
    names = {name for name, _ in figures.requests}
    return {name: figures.named(name) for name in sorted(names)}


def theirs(
    of: Trace, what: str, *, pace: float | None, limit: int | None, cold: bool = False
) -> Row:
    policy = RudderStack()
    if not cold:
        for event in documents(of.before):
            policy.send(event)
    policy.limit(limit)
    began_at = policy.now = math.ceil(policy.now / 60) * 60.0
    for event in documents(of.measured):
        policy.send(event)
    took_s = policy.now - began_at
    if pace is not None:
        took_s = max(took_s, len(of.measured) / pace)
    requests = dict(policy.requests)
    return Row("RudderStack's", what, limit, requests, len(of.measured), of.identifies, took_s)


def run(talk: Console) -> list[Row]:
    """Run every policy on every traffic; ours comes before RudderStack's."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    usual = trace()
    own, double = f"{OWN_PACE:g} events/s", f"{2 * OWN_PACE:g} events/s"
    plans: list[tuple[str, Trace, dict[str, Any]]] = [
        (own, usual, {"pace": OWN_PACE, "limit": None}),
        (own, usual, {"pace": OWN_PACE, "limit": PER_MINUTE}),
        (double, trace(times=3), {"pace": 2 * OWN_PACE, "limit": PER_MINUTE}),
        (WAITING, usual, {"pace": None, "limit": PER_MINUTE}),
        (f"{WAITING}, all new", usual, {"pace": None, "limit": PER_MINUTE, "cold": True}),
    ]
    rows = []
    for what, events, plan in plans:
        talk.print(f"economy: {what}, {plan['limit'] or 'no'} limit")
        rows += [ours(events, what, **plan), theirs(events, what, **plan)]
    talk.print(f"economy: {WAITING}, told by replies only")
    rows.append(ours(usual, WAITING, pace=None, limit=PER_MINUTE, own=False))
    return rows


def show(rows: Sequence[Row], out: Console) -> None:
    table = Table(title=f"requests to Wootric of {PEOPLE:,} people's events, simulated clock")
    columns = ("", "traffic", "events", "limit", "API requests", "an event", "an identify")
    for name in (*columns, "pixels", "took, min", "longest wait, min"):
        table.add_column(name, justify="left" if name in ("", "traffic") else "right")
    for row in rows:
        table.add_row(
            row.policy,
            row.traffic,
            f"{row.events:,}",
            f"{row.limit}/min" if row.limit else "",
            f"{row.api:,}",
            f"{row.api / row.events:.2f}",
            f"{row.per_identify:.2f}",
            f"{row.requests.get(PIXEL, 0):,}",
            f"{row.took_s / 60:.1f}",
            "" if row.longest_wait_s is None else f"{row.longest_wait_s / 60:.1f}",
        )
    out.print(table)
    for mine, other in zip(rows[::2], rows[1::2], strict=False):
        if mine.limit and WAITING in mine.traffic:
            ratio = other.took_s / mine.took_s
            out.print(f"{mine.traffic}: {ratio:.1f} times as fast as RudderStack's sequence")
    surveys, changed, new = trace().floor
    out.print(
        f"{WAITING}: a request carries one survey or one person, so none does with fewer than "
        f"{surveys + changed + new:,}: {surveys} surveys, {changed} people with something new, "
        f"{new} look-ups of people who are new"
    )


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [asdict(row) | {"api": row.api, "per_identify": row.per_identify} for row in rows]
