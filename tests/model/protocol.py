"""The protocol as a model: two events of one user, three workers one after the other, Wootric.

Time passes in ticks, for all at once. A worker may stop at any step for as long as it likes,
and die, except the last one; requests, replies and commits may be lost or late. Every safeguard
can be left out, to see what it is for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

EVENTS = (0, 1)
LAST = 2
LEASE = 1
DEADLINE = 1
LATE = 1
"""All in ticks: how long a fence lets send, a request is waited for, an effect may be late."""

# What the ledger, or a worker, says of an event.
NEW, INTENT, PARKED, DONE = "new", "intent", "parked", "done"
SETTLED = (PARKED, DONE)
NOTHING = -1


class Kind(StrEnum):
    """What can be known of an attempt whose reply was lost."""

    OBSERVABLE = "response"
    REPEATABLE = "profile"
    UNOBSERVABLE = "page view"


class Phase(StrEnum):
    """Where a worker is."""

    OFF = "not started"
    RESTORING = "restoring"
    FREE = "free"
    TRANSACTION = "in a transaction"
    COMMITTED = "committed, not told"
    ABORTED = "aborted, not told"
    RELEASED = "released"
    CLEARED = "cleared to send"
    CHECKED = "lease checked"
    WAITING = "waiting for a reply"
    DEAD = "dead"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which safeguards there are."""

    kind: Kind = Kind.OBSERVABLE
    intents: bool = True
    offsets_after: bool = True
    """Offsets are committed after the effect, not before it is asked for."""
    fence: bool = True
    lease: bool = True
    lease_from_begin: bool = True
    """The lease counts from the start of the transaction, not from when its reply came."""
    one_step: bool = True
    """Nothing comes between the look at the lease and the first byte."""
    quiet: bool = True
    """Who has given a request up waits until it can have no late effect."""
    takeover_wait: bool = True
    """Who takes over waits for that, and for the lease and the request that may come before."""
    look: bool = True
    claims: bool = True
    barrier: bool = True
    re_emission: bool = True
    read_back: bool = True
    late: int = LATE
    """How late an effect really is; the waits reckon with ``LATE``."""


class Books(NamedTuple):
    """The ledger's fold, or a worker's picture of it. ``claims`` name an effect an event."""

    events: tuple[str, str] = (NEW, NEW)
    claims: tuple[int, int] = (NOTHING, NOTHING)
    offset: int = 0


class Worker(NamedTuple):
    """One process."""

    phase: Phase = Phase.OFF
    books: Books = Books()
    event: int = NOTHING
    doubt: bool = False
    lease: int = 0
    wait: int = 0
    said: tuple[bool, bool] = (False, False)
    """Which outcomes have been in a transaction, whatever became of that."""


class Request(NamedTuple):
    """Bytes on their way; ``sender`` is who still waits for the reply."""

    event: int
    left: int
    sender: int


class State(NamedTuple):
    """The whole world."""

    owner: int
    workers: tuple[Worker, ...]
    ledger: Books = Books()
    readable: Books | None = None
    """What a reader sees while the last markers are not written; None when all is readable."""
    wire: tuple[Request, ...] = ()
    effects: tuple[int, ...] = ()
    """What Wootric holds, by the event that did it; of a profile only the last write."""


FIRST = State(0, (Worker(Phase.FREE), Worker(), Worker()))
Steps = Iterator[tuple[str, State]]


def following(state: State, protocol: Protocol) -> Steps:
    """Yield everything that may happen next."""
    yield from _time(state)
    yield from _wootric(state, protocol)
    if state.readable is not None:
        yield "Kafka makes the last transaction readable", state._replace(readable=None)
    if state.owner < LAST:
        yield from _takeover(state, protocol)
    for number, worker in enumerate(state.workers):
        if worker.phase not in {Phase.OFF, Phase.DEAD}:
            if number < LAST:
                yield f"w{number} dies", _gone(state, number)
            yield from _step(state, number, worker, protocol)


def fault(state: State, at_rest: bool, protocol: Protocol) -> str | None:
    """Return what is wrong with a state."""
    ledger, effects = state.ledger, state.effects
    done = [event for event in EVENTS if ledger.events[event] == DONE]
    profile = protocol.kind is Kind.REPEATABLE
    if not profile and any(effects.count(event) > 1 for event in EVENTS):
        return "duplicate"
    passed = ledger.events[: ledger.offset] if protocol.offsets_after else ()
    lost = not profile and len(done) > len(effects)
    if at_rest:
        passed = ledger.events
        lost = lost or (not profile and any(event not in effects for event in done))
    if lost or any(outcome not in SETTLED for outcome in passed):
        return "loss"
    return "stale" if at_rest and profile and effects != EVENTS[-1:] else None


# Time, Wootric, the group


def _time(state: State) -> Steps:
    workers = tuple(
        worker._replace(lease=max(0, worker.lease - 1), wait=max(0, worker.wait - 1))
        if worker.lease or worker.wait
        else worker
        for worker in state.workers
    )
    wire = tuple(
        request._replace(left=request.left - 1) for request in state.wire if request.left > 1
    )
    if workers != state.workers or wire != state.wire:
        yield "time passes", state._replace(workers=workers, wire=wire)


def _wootric(state: State, protocol: Protocol) -> Steps:
    """A request is executed; its reply arrives at once, or never."""
    for place, request in enumerate(state.wire):
        wire = state.wire[:place] + state.wire[place + 1 :]
        effects = (*state.effects, request.event)
        if protocol.kind is Kind.REPEATABLE:
            effects = (request.event,)
        after = state._replace(wire=wire, effects=effects)
        name = f"Wootric does event {request.event + 1}"
        waiting = request.sender != NOTHING
        yield f"{name}, and the reply is lost" if waiting else f"{name}, late", after
        if waiting:
            worker = state.workers[request.sender]
            claim = NOTHING if protocol.kind is Kind.REPEATABLE else len(effects) - 1
            told = _settled(worker, DONE, claim)._replace(phase=Phase.FREE, wait=0, doubt=False)
            yield f"{name}, and w{request.sender} is told", with_worker(after, request.sender, told)


def _takeover(state: State, protocol: Protocol) -> Steps:
    number = state.owner + 1
    after = with_worker(state._replace(owner=number), number, Worker(Phase.RESTORING))
    deposed = state.workers[state.owner]
    if protocol.fence and deposed.phase in {Phase.FREE, Phase.RESTORING, Phase.WAITING}:
        # It can commit nothing any more, so that nobody would notice what it does.
        after = _gone(after, state.owner)
    yield f"w{number} takes over", after


def _gone(state: State, number: int) -> State:
    """Return the state without a worker; what it has sent is still on its way."""
    wire = tuple(
        sorted(r._replace(sender=NOTHING) if r.sender == number else r for r in state.wire)
    )
    return with_worker(state._replace(wire=wire), number, Worker(Phase.DEAD))


# A worker's steps


def _step(state: State, number: int, worker: Worker, protocol: Protocol) -> Steps:
    match worker.phase:
        case Phase.RESTORING:
            yield from _restore(state, number, protocol)
        case Phase.FREE:
            yield from _begin(state, number, worker, protocol)
        case Phase.TRANSACTION:
            yield from _decide(state, number, worker, protocol)
        case Phase.COMMITTED:
            yield f"w{number} hears of its commit", _released(state, number, worker, protocol)
        case Phase.ABORTED:
            yield from _hear_of_abort(state, number, worker, protocol)
        case Phase.RELEASED:
            yield from _look(state, number, worker, protocol)
        case Phase.CLEARED:
            yield from _check(state, number, worker, protocol)
        case Phase.CHECKED:
            yield (
                f"w{number} sends event {worker.event + 1}",
                _sent(state, number, worker, protocol),
            )
        case Phase.WAITING if worker.wait == 0:
            yield f"w{number} gives its request up", _given_up(state, number, worker, protocol)


def _restore(state: State, number: int, protocol: Protocol) -> Steps:
    if protocol.barrier and state.readable is not None:
        return
    books = state.ledger if state.readable is None else state.readable
    doubt = INTENT in books.events
    wait = LEASE + DEADLINE + LATE if doubt and protocol.takeover_wait else 0
    # Offsets are read on their own, and never late.
    books = books._replace(offset=state.ledger.offset)
    worker = Worker(Phase.FREE, books, wait=wait, doubt=doubt)
    yield f"w{number} restores the ledger", with_worker(state, number, worker)


def _begin(state: State, number: int, worker: Worker, protocol: Protocol) -> Steps:
    """A transaction: receipts, the intent of what comes next, the offset behind it all."""
    if worker.wait:
        return
    books = worker.books
    events = [e for e in EVENTS if e >= books.offset and books.events[e] not in SETTLED]
    event = events[0] if events else NOTHING
    if event != NOTHING and worker.doubt and protocol.kind is Kind.UNOBSERVABLE:
        worker = _settled(worker._replace(event=event), PARKED, NOTHING)._replace(doubt=False)
        yield f"w{number} parks event {event + 1}", with_worker(state, number, worker)
        return
    if event == NOTHING and _said(worker, state.ledger):
        return
    if event != NOTHING and protocol.intents and books.events[event] == NEW:
        books = _noted(books, event, INTENT, NOTHING)
    lease = LEASE if protocol.lease_from_begin else worker.lease
    begun = worker._replace(phase=Phase.TRANSACTION, books=books, event=event, lease=lease)
    yield f"w{number} begins a transaction", with_worker(state, number, begun)


def _said(worker: Worker, ledger: Books) -> bool:
    """Whether the ledger has all that a worker knows."""
    return worker.books == ledger


def _decide(state: State, number: int, worker: Worker, protocol: Protocol) -> Steps:
    """Kafka commits or aborts; whoever lost the partition is refused."""
    refused = protocol.fence and number != state.owner
    if not refused:
        ledger = _merged(state.ledger, worker, protocol)
        after = state._replace(ledger=ledger)
        told = worker._replace(
            phase=Phase.COMMITTED, books=worker.books._replace(offset=ledger.offset)
        )
        after = with_worker(after, number, told)
        name = f"Kafka commits w{number}'s transaction"
        yield name, after._replace(readable=None)
        if ledger != state.ledger:
            hidden = state.ledger if state.readable is None else state.readable
            yield f"{name}, not yet readable", after._replace(readable=hidden)
    aborted = worker._replace(phase=Phase.ABORTED)
    why = "refuses" if refused else "aborts"
    yield f"Kafka {why} w{number}'s transaction", with_worker(state, number, aborted)
    if not protocol.read_back:
        name = f"w{number}'s commit is lost, and taken for committed"
        yield name, _released(state, number, worker, protocol)


def _hear_of_abort(state: State, number: int, worker: Worker, protocol: Protocol) -> Steps:
    name = f"w{number} hears of its abort"
    if protocol.fence and number != state.owner:
        yield f"{name} and ends", _gone(state, number)
    elif protocol.re_emission:
        # What the transaction said is said again by the next one; an intent is written anew.
        back = worker.books
        if worker.event != NOTHING and not worker.doubt:
            back = _noted(back, worker.event, NEW, NOTHING)
        free = worker._replace(phase=Phase.FREE, books=back, lease=0)
        yield name, with_worker(state, number, free)
    else:
        yield f"{name} and goes on", _released(state, number, worker, protocol)


def _released(state: State, number: int, worker: Worker, protocol: Protocol) -> State:
    """A transaction is over: what it released may be sent from now on."""
    lease = worker.lease if protocol.lease_from_begin else LEASE
    phase = Phase.FREE if worker.event == NOTHING else Phase.RELEASED
    said = tuple(outcome in SETTLED for outcome in worker.books.events)
    over = worker._replace(phase=phase, lease=lease, said=said)
    return with_worker(state, number, over)


def _look(state: State, number: int, worker: Worker, protocol: Protocol) -> Steps:
    cleared = with_worker(state, number, worker._replace(phase=Phase.CLEARED))
    if not worker.doubt or not protocol.look:
        yield f"w{number} has nothing to look for", cleared
        return
    found = _found(state, worker, protocol)
    if found is None:
        yield f"w{number} looks and finds nothing", cleared
        return
    told = _settled(worker, DONE, found)._replace(phase=Phase.FREE, doubt=False)
    yield f"w{number} looks and finds event {worker.event + 1}", with_worker(state, number, told)


def _found(state: State, worker: Worker, protocol: Protocol) -> int | None:
    """Return the effect that a look-up takes for the event's: two responses are just alike."""
    if protocol.kind is Kind.REPEATABLE:
        return NOTHING if state.effects == (worker.event,) else None
    claimed = worker.books.claims if protocol.claims else ()
    for effect in range(len(state.effects)):
        if effect not in claimed:
            return effect
    return None


def _check(state: State, number: int, worker: Worker, protocol: Protocol) -> Steps:
    if protocol.lease and worker.lease == 0:
        free = worker._replace(phase=Phase.FREE)
        yield f"w{number} is too late to send", with_worker(state, number, free)
    elif protocol.one_step:
        after = _sent(state, number, worker, protocol)
        yield f"w{number} sends event {worker.event + 1}", after
    else:
        checked = worker._replace(phase=Phase.CHECKED)
        yield f"w{number} may send event {worker.event + 1}", with_worker(state, number, checked)


def _sent(state: State, number: int, worker: Worker, protocol: Protocol) -> State:
    request = Request(worker.event, DEADLINE + protocol.late, number)
    wire = tuple(sorted((*state.wire, request)))
    waiting = worker._replace(phase=Phase.WAITING, wait=DEADLINE, lease=0)
    after = with_worker(state._replace(wire=wire), number, waiting)
    return _gone(after, number) if protocol.fence and number != state.owner else after


def _given_up(state: State, number: int, worker: Worker, protocol: Protocol) -> State:
    wire = tuple(
        sorted(r._replace(sender=NOTHING) if r.sender == number else r for r in state.wire)
    )
    wait = LATE if protocol.quiet else 0
    doubtful = worker._replace(phase=Phase.FREE, doubt=True, wait=wait)
    return with_worker(state._replace(wire=wire), number, doubtful)


# Books


def _settled(worker: Worker, outcome: str, claim: int) -> Worker:
    books = _noted(worker.books, worker.event, outcome, claim)
    return worker._replace(books=books, event=NOTHING, lease=0)


def _noted(books: Books, event: int, outcome: str, claim: int) -> Books:
    events = tuple(outcome if e == event else books.events[e] for e in EVENTS)
    claims = tuple(claim if e == event else books.claims[e] for e in EVENTS)
    return books._replace(events=events, claims=claims)


def _merged(ledger: Books, worker: Worker, protocol: Protocol) -> Books:
    """Return the ledger with what a transaction says: settled events stay settled."""
    said = worker.books
    for event in EVENTS:
        lost = not protocol.re_emission and worker.said[event]
        if said.events[event] != NEW and ledger.events[event] not in SETTLED and not lost:
            ledger = _noted(ledger, event, said.events[event], said.claims[event])
    behind = next((e for e in EVENTS if said.events[e] not in SETTLED), len(EVENTS))
    if not protocol.offsets_after and worker.event != NOTHING:
        behind = worker.event + 1
    return ledger._replace(offset=max(ledger.offset, behind))


def with_worker(state: State, number: int, worker: Worker) -> State:
    """Return the state with another worker in this place."""
    workers = (*state.workers[:number], worker, *state.workers[number + 1 :])
    return state._replace(workers=workers)
