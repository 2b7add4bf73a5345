"""The demo's report: events, outcomes, and the comparison with Wootric's state."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, assert_never, cast

from rich.console import Console
from rich.table import Table

from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    PageView,
    UpsertEndUser,
    WootricOperation,
)
from stream.codec.json_text import escaped
from stream.engine.prepare import PreparedRecord
from stream.operations.output import json_document, print_data
from stream.transform import Deliver, Skip

# The state that Wootric should have after the traffic, computed without the service.
#
# The transform is shared; order, deduplication and the state of users are implemented again in the
# simplest way, so that the comparison is meaningful.


END_USERS = "end users"
RESPONSES = "responses"
DECLINES = "declines"
PAGE_VIEWS = "page views"
DEAD_LETTERS = "dead letters"
KINDS = (END_USERS, RESPONSES, DECLINES, PAGE_VIEWS, DEAD_LETTERS)


@dataclass(slots=True)
class User:
    """An end user; properties have the text of their form values."""

    email: str | None = None
    created_at: int | None = None
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class ActualState:
    """The state of Wootric: users by external id, and the number of each other object.

    ``pixels`` counts page views by their cache breaker, which is derived from the event's id.
    """

    users: dict[str, User] = field(default_factory=dict)
    responses: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    declines: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    page_views: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    pixels: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class ExpectedState:
    """The expected state, and the expected outcomes of events that do not reach Wootric.

    ``asked`` has the kind of object by event id, ``sources`` the event id by kind and object.
    """

    world: ActualState = field(default_factory=ActualState)
    outcomes: Counter[str] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[bytes] = field(default_factory=Counter)
    asked: dict[str, str] = field(default_factory=dict)
    sources: dict[tuple[str, Any], str] = field(default_factory=dict)


def expect(judged: Iterable[PreparedRecord]) -> ExpectedState:
    """Return the expected state after records prepared in their order."""
    expectation = ExpectedState()
    for event in judged:
        verdict = event.result
        if isinstance(verdict, Skip):
            expectation.outcomes["skipped"] += 1
            expectation.skips[verdict.reason] += 1
        elif event.event_id in expectation.asked:
            expectation.outcomes["duplicate"] += 1
        elif isinstance(verdict, Deliver):
            kind = _apply(cast("WootricOperation", verdict.operation), expectation, event.event_id)
            expectation.asked[event.event_id] = kind
        else:
            expectation.outcomes["rejected"] += 1
            value = event.record.value or b""
            expectation.dead_letters[value] += 1
            expectation.asked[event.event_id] = DEAD_LETTERS
            expectation.sources[DEAD_LETTERS, value] = event.event_id
    return expectation


def _apply(operation: WootricOperation, expectation: ExpectedState, event_id: str) -> str:
    """Apply an operation; return the kind of object that it concerns."""
    world = expectation.world
    name = operation.external_id or operation.email or ""
    thing: Any = name
    match operation:
        case UpsertEndUser():
            kind = END_USERS
            user = world.users.setdefault(name, User())
            user.email = operation.email or user.email
            if operation.external_created_at is not None:
                user.created_at = operation.external_created_at
            user.properties.update(_texts(operation.properties))
        case PageView():
            kind, thing = PAGE_VIEWS, operation.random
            known = world.users.get(name)
            email = operation.email or (known.email if known is not None else None)
            if email is None:
                expectation.outcomes["skipped"] += 1
                expectation.skips["no_email"] += 1
                return kind
            world.page_views[email, operation.url] += 1
            world.pixels[operation.random] += 1
        case CreateResponse() | CreateDecline():
            user = world.users.setdefault(name, User(email=operation.email))
            user.properties.update(_texts(operation.properties))
            if isinstance(operation, CreateResponse):
                kind = RESPONSES
                thing = (name, operation.created_at, operation.score, operation.text)
                world.responses[thing] += 1
            else:
                kind, thing = DECLINES, (name, operation.created_at, operation.origin_url)
                world.declines[thing] += 1
        case DeleteEndUser():
            kind = END_USERS
            world.users.pop(name, None)
        case _:
            assert_never(operation)
    expectation.outcomes[kind] += 1
    expectation.sources[kind, thing] = event_id
    return kind


def observed(state: Mapping[str, Any]) -> ActualState:
    """Return the actual state from the emulator's state document."""
    world = ActualState()
    names: dict[int, str] = {}
    for user in state["end_users"]:
        name = user["external_id"] or user["email"] or f"#{user['id']}"
        names[user["id"]] = name
        if name in world.users:
            name = f"{name} (a second one)"
        world.users[name] = User(
            email=user["email"],
            created_at=user["external_created_at"],
            properties=_texts(user["properties"]),
        )
    for one in state["responses"]:
        key = (
            names.get(one["end_user_id"]),
            _seconds(one["created_at"]),
            one["score"],
            one["text"],
        )
        world.responses[key] += 1
    for one in state["declines"]:
        at = _seconds(one["created_at"])
        world.declines[names.get(one["end_user_id"]), at, one["origin_url"]] += 1
    world.page_views.update((view["email"], view["url"]) for view in state["page_views"])
    world.pixels.update(view["random"] for view in state["page_views"])
    return world


def _texts(properties: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in properties.items()}


def _seconds(moment: Any) -> int:
    """Return the Unix seconds of a moment as the API prints it."""
    return int(moment) if isinstance(moment, int) else parse_moment(str(moment))


def parse_moment(text: str) -> int:
    """Return Unix seconds of a text such as ``2018-01-02 23:03:41 -0800``."""
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z").timestamp())


# Comparison of the expected and the actual state


__all__ = ["Row", "compare", "differences", "expect", "observed"]

EXAMPLES_MAX = 10
NOBODY = "an event that was not sent"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report: the numbers expected, held, extra and missing.

    ``asked`` events concern this kind, and ``receipts`` of them have a receipt in the ledger.
    ``parked`` of the missing ones are kept for an operator's decision.
    """

    kind: str
    expected: int
    held: int
    extra: int
    missing: int
    parked: int = 0
    asked: int = 0
    receipts: int = 0

    @property
    def agrees(self) -> bool:
        """Whether nothing is extra, unsettled, or missing without being parked."""
        return self.extra == 0 and self.missing <= self.parked and self.asked == self.receipts


def compare(
    expected: ExpectedState,
    held: ActualState,
    *,
    dead_letters: Counter[bytes],
    parked_pages: int = 0,
    parked_pixels: Collection[str] | None = None,
    receipts: Collection[str] | None = None,
) -> list[Row]:
    """Return the comparison of the actual with the expected state.

    With ``parked_pixels`` page views are compared individually instead of by URL. With
    ``receipts``, the ids of settled events, each event must have one.
    """
    world = expected.world
    same_users = sum(1 for name, user in world.users.items() if held.users.get(name) == user)
    asked = Counter(expected.asked.values()) if receipts is not None else Counter()
    settled = Counter(expected.asked[name] for name in receipts or () if name in expected.asked)
    pages = _counts(world.page_views, held.page_views)
    if parked_pixels is not None:
        pages = _counts(world.pixels, held.pixels)
        parked_pages = len((world.pixels.keys() - held.pixels.keys()) & set(parked_pixels))
    counts = {
        END_USERS: (
            len(world.users),
            len(held.users),
            len(held.users.keys() - world.users.keys()),
            len(world.users) - same_users,
        ),
        RESPONSES: _counts(world.responses, held.responses),
        DECLINES: _counts(world.declines, held.declines),
        PAGE_VIEWS: pages,
        DEAD_LETTERS: _counts(expected.dead_letters, dead_letters),
    }
    parked = {PAGE_VIEWS: parked_pages}
    return [
        Row(kind, *counts[kind], parked.get(kind, 0), asked[kind], settled[kind]) for kind in KINDS
    ]


def differences(
    expected: ExpectedState,
    held: ActualState,
    *,
    parked_pixels: Collection[str] | None = None,
    dead_letters: Counter[bytes] | None = None,
) -> list[str]:
    """Return at most ten differences, by event id and without values.

    Page views are compared only with ``parked_pixels``, dead letters only if given.
    """
    world = expected.world
    pairs: dict[str, tuple[Counter[Any], Counter[Any]]] = {
        RESPONSES: (world.responses, held.responses),
        DECLINES: (world.declines, held.declines),
    }
    if parked_pixels is not None:
        excused = set(parked_pixels) - held.pixels.keys()
        due = Counter({pixel: n for pixel, n in world.pixels.items() if pixel not in excused})
        pairs[PAGE_VIEWS] = (due, held.pixels)
    if dead_letters is not None:
        pairs[DEAD_LETTERS] = (expected.dead_letters, dead_letters)

    def found() -> Iterator[str]:
        yield from _differing_users(expected, held)
        for kind, (due, there) in pairs.items():
            for thing in due - there:
                yield f"{expected.sources.get((kind, thing), NOBODY)}: {kind}, missing"
            for thing in there - due:
                yield f"{expected.sources.get((kind, thing), NOBODY)}: {kind}, too many"

    return list(islice(found(), EXAMPLES_MAX))


def _differing_users(expected: ExpectedState, held: ActualState) -> Iterator[str]:
    for name, user in expected.world.users.items():
        other = held.users.get(name)
        event = expected.sources.get((END_USERS, name), "a survey's user")
        if other is None:
            yield f"{event}: {END_USERS}, missing"
        elif other != user:
            fields = [
                label
                for label in ("email", "created_at", "properties")
                if getattr(user, label) != getattr(other, label)
            ]
            yield f"{event}: {END_USERS}, {', '.join(fields)}"
    for _ in held.users.keys() - expected.world.users.keys():
        yield f"{NOBODY}: {END_USERS}, too many"


def _counts(expected: Counter[Any], held: Counter[Any]) -> tuple[int, int, int, int]:
    extra = sum((held - expected).values())
    missing = sum((expected - held).values())
    return sum(expected.values()), sum(held.values()), extra, missing


WIDTH = 100
"""Columns if the output is not a terminal."""

COLUMNS = ("", "in", "out", "expected", "held", "too many", "missing", "parked", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """All figures of the report; times in seconds.

    ``recovery_s`` is the time from each kill to the next effect, None if there was none.
    """

    events: int
    took_s: float
    rows: Sequence[Row]
    differences: Sequence[str]
    outcomes: Mapping[str, int]
    skips: Mapping[str, int]
    requests: int
    lost_replies: int
    parked: int
    in_doubt: int
    recovery_s: Sequence[float | None]
    latencies_s: Sequence[float]
    exit_code: int | None

    @property
    def agrees(self) -> bool:
        """Whether Wootric has the expected state, and nothing is unresolved."""
        return (
            all(row.agrees for row in self.rows)
            and not self.differences
            and self.in_doubt == 0
            and self.exit_code == 0
        )


def print_report(report: DemoReport) -> bool:
    """Print the report on stdout; return whether in and out agree."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(title="What went in, what came out, what Wootric holds")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name else "left")
    for row in report.rows:
        numbers = (
            row.asked, row.receipts, row.expected, row.held, row.extra, row.missing, row.parked
        )  # fmt: skip
        table.add_row(row.kind, *map(str, numbers), "ok" if row.agrees else "DIFFERS")
    with console.capture() as text:
        console.print(table)
        for line in lines(report):
            console.print(escaped(line), markup=False, soft_wrap=True)
    print_data(text.get().removesuffix("\n"))
    return report.agrees


def print_document(report: DemoReport) -> bool:
    """Print the report on stdout as one JSON object; return whether in and out agree."""
    latencies = report.latencies_s
    document = {
        **asdict(report),
        "outcomes": dict(report.outcomes),  # asdict would make a Counter of the pairs
        "skips": dict(report.skips),
        "agrees": report.agrees,
        "verdict": verdict(report),
        "latencies_s": {f"p{p}": quantile(latencies, p / 100) for p in (50, 99) if latencies},
    }
    print_data(json_document(document))
    return report.agrees


def lines(report: DemoReport) -> list[str]:
    """Return the lines below the table; the last one states whether the result agrees."""
    gaps = ", ".join("none seen" if gap is None else f"{gap:.1f} s" for gap in report.recovery_s)
    found = [
        (
            f"events      {report.events} in {report.took_s:.1f} s, start and restarts included: "
            f"{report.events / report.took_s:,.0f}/s"
        ),
        f"asked for   {_listed(report.outcomes)}",
        f"skipped     {_listed(report.skips)}",
        f"requests    {report.requests}, {report.requests / max(1, report.events):.2f} per event",
        (
            f"faults      {len(report.recovery_s)} x kill -9, {report.lost_replies} replies lost "
            "after the effect"
        ),
        f"recovery    from kill -9 to the next effect at Wootric: {gaps or 'no kill'}",
        f"in doubt    {report.in_doubt} left, {report.parked} page views parked",
    ]
    if report.latencies_s:
        p50, p99 = (quantile(report.latencies_s, share) for share in (0.5, 0.99))
        found.append(f"latency     page views, published to held: p50 {p50:.2f} s, p99 {p99:.2f} s")
    if report.exit_code is None:
        found.append("the worker did not end after SIGTERM")
    elif report.exit_code != 0:
        found.append(f"the worker ended with {report.exit_code} after SIGTERM")
    found += [f"differs     {line}" for line in report.differences]
    found.append(verdict(report))
    return found


def verdict(report: DemoReport) -> str:
    """Return the result in one line."""
    if report.agrees:
        return f"in and out agree: {report.events} events, nothing lost, nothing twice"
    kinds = [row.kind for row in report.rows if not row.agrees]
    if report.in_doubt:
        kinds.append("requests left in doubt")
    if report.exit_code != 0:
        kinds.append("the worker's exit")
    return f"IN AND OUT DIFFER: {', '.join(kinds) or 'see above'}"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of sorted values lies."""
    return values[min(len(values) - 1, int(share * len(values)))]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing"
