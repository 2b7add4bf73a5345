"""The status of a worker as JSON, with the one sentence that an on-call engineer wants first."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stream import __version__
from stream.telemetry.vitals import Standing, Vitals

BEHIND_S = 60.0
RATE_S = 10
STANDSTILL_S = 30.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which worker speaks."""

    instance: str
    group: str
    topic: str


def status(vitals: Vitals, identity: Identity) -> dict[str, Any]:
    """Return the status; nothing in it is personal."""
    now = time.monotonic()
    settled: dict[str, dict[str, int]] = {}
    for (outcome, reason), count in sorted(vitals.settled.items()):
        settled.setdefault(outcome, {})[reason or "-"] = count
    history = vitals.rates()
    recent = history[-RATE_S:]
    level, says = verdict(vitals, now)
    return {
        "verdict": level,
        "says": says,
        "version": __version__,
        "instance": identity.instance,
        "group": identity.group,
        "topic": identity.topic,
        "up_s": round(now - vitals.started_at, 1),
        "joined": vitals.joined,
        "draining": vitals.draining,
        "consumed": vitals.consumed,
        "settled": settled,
        "in_flight": vitals.in_flight,
        "relinquished": vitals.relinquished,
        "in_doubt": vitals.in_doubt,
        "in_doubt_oldest_s": round(vitals.in_doubt_oldest_s, 1),
        "circuits_open": {
            name: {"reason": opened.reason, "for_s": round(now - opened.since, 1)}
            for name, opened in vitals.circuits.items()
        },
        "throttled_s": round(max(0.0, vitals.throttled_until - now), 1),
        "consumed_per_s": round(sum(rate for rate, _ in recent) / max(1, len(recent)), 1),
        "settled_per_s": round(sum(rate for _, rate in recent) / max(1, len(recent)), 1),
        "settled_per_s_history": [round(rate, 1) for _, rate in history],
        "partitions": {
            str(partition.number): _partition(standing)
            for partition, standing in sorted(vitals.standings.items())
        },
        "halted": {
            str(partition.number): {"reason": halted.reason, "detail": halted.detail}
            for partition, halted in sorted(vitals.halted.items())
        },
        "last_dead_letters": list(vitals.letters),
    }


def _partition(standing: Standing) -> dict[str, Any]:
    return {
        "committed": standing.committed,
        "position": standing.position,
        "end": standing.end,
        "lag": standing.lag,
        "lag_s": round(standing.lag_s, 1),
        "in_flight": standing.in_flight,
    }


def verdict(vitals: Vitals, now: float) -> tuple[str, str]:
    """Return ``bad``, ``warn`` or ``ok``, and the most urgent thing to say."""
    return next(itertools.chain(_standstill(vitals, now), _worries(vitals, now), _fine(vitals)))


def _standstill(vitals: Vitals, now: float) -> Iterator[tuple[str, str]]:
    for name, opened in sorted(vitals.circuits.items()):
        what = "No page view is sent" if name == "pixel" else "Nothing is sent to Wootric's API"
        yield "bad", f"{what}: {opened.reason}, for {lasting(now - opened.since)}"
    if vitals.halted:
        reasons = ", ".join(sorted({halted.reason.value for halted in vitals.halted.values()}))
        yield "bad", f"{counted(len(vitals.halted), 'partition')} at a standstill: {reasons}"
    since = vitals.started_at if vitals.committed_at is None else vitals.committed_at
    if vitals.in_flight and now - since > STANDSTILL_S:
        yield "bad", f"Events are in flight, and nothing was committed for {lasting(now - since)}"


def _worries(vitals: Vitals, now: float) -> Iterator[tuple[str, str]]:
    if vitals.draining:
        yield "warn", "Finishing what is under way, then leaving"
    if not vitals.joined:
        yield "warn", "Waiting for the group to take this worker in"
    if vitals.throttled_until > now:
        wait_s = vitals.throttled_until - now
        yield "warn", f"Wootric asked to wait: {lasting(wait_s)} from now"
    lag_s = max((standing.lag_s for standing in vitals.standings.values()), default=0.0)
    if lag_s > BEHIND_S:
        yield "warn", f"Flowing, {lasting(lag_s)} behind: {counted(vitals.lag, 'event')} to go"
    if vitals.in_doubt:
        doubt = counted(vitals.in_doubt, "event")
        yield "warn", f"Flowing; {doubt} in doubt, oldest {lasting(vitals.in_doubt_oldest_s)}"


def _fine(vitals: Vitals) -> Iterator[tuple[str, str]]:
    if not vitals.standings:
        yield "ok", "A spare: the group has given this worker no partition"
    under_way = counted(vitals.lag, "event")
    yield "ok", f"Flowing, {under_way} under way" if vitals.lag else "Caught up"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def lasting(seconds: float) -> str:
    """Return a duration as people say it."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
