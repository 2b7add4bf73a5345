"""One host, asked with patience: gate, token, circuit, and what a verdict leads to.

Every call ends in an answer that the caller can use (executed or refused), or it ends the
delivery with an outcome. What may have been executed is never sent again from here.
"""

import asyncio
from typing import Final, NoReturn, TypeAlias, assert_never

from sink.classify import (
    ALWAYS_FORBIDDEN,
    Ambiguous,
    Classification,
    Executed,
    Forbidden,
    NotExecuted,
    OutOfLease,
    RejectedByServer,
    Throttled,
    Unauthorized,
    classify,
)
from sink.models import Request
from sink.rate_limit import backoff_s
from sink.wootric.auth import (
    BARE_HEADERS,
    AccessToken,
    TokenDenied,
    TokenProvider,
    TokenUnavailable,
)
from sink.wootric.delivery import (
    Deferred,
    Delivery,
    InDoubt,
    Outcome,
    Parked,
    Rejected,
    estimated_requests,
)
from sink.wootric.endpoint import Dependencies, Endpoint
from sink.wootric.replies import detail, is_error

# One delivery under way: what it has spent, and how it ends


QUEUE_TIMEOUT_S: Final = 2.0  # a longer wait gives the place in flight to another delivery
# Who has asked already waits on for its next request: begun anew it would only ask the same
# again, for ever where the pace is slow.
PATIENCE_BEGUN_S: Final = 600.0


class DeliveryEnded(Exception):  # noqa: N818  (not an error: the delivery's outcome, found deep inside)
    """The delivery ends here, with this outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(type(outcome).__name__)
        self.outcome = outcome


class DeliveryContext:
    """What one delivery has spent so far: patience, requests, writes that left, failures in a row.

    ``resent`` says that a token was renewed for it: that happens once.
    """

    __slots__ = ("attempts", "delivery", "failures", "patient_until", "requests", "resent")

    def __init__(self, delivery: Delivery, *, now: float) -> None:
        self.delivery = delivery
        self.patient_until = now + QUEUE_TIMEOUT_S
        self.requests = 0
        self.attempts = 0
        self.failures = 0
        self.resent = False

    @property
    def remaining_requests(self) -> int:
        """How many API requests it will probably still begin."""
        delivery = self.delivery
        in_all = estimated_requests(delivery.operation, delivery.known, in_doubt=delivery.in_doubt)
        return max(0, in_all - self.requests)

    def patience_s(self, now: float) -> float:
        """Return for how many seconds it may wait for its turn."""
        return PATIENCE_BEGUN_S if self.requests else max(0.0, self.patient_until - now)

    def deferred(self, reason: str, retry_at: float, *, refused: bool = False) -> Deferred:
        """Return the outcome of what was not executed and may be later."""
        return Deferred(reason=reason, retry_at=retry_at, refused=refused, attempts=self.attempts)

    def rejected(self, answer: RejectedByServer, reason: str) -> Rejected:
        """Return the outcome of a refusal."""
        return Rejected(
            reason=reason,
            detail=detail(answer.body),
            status=answer.status,
            attempts=self.attempts,
        )

    def turned_away(
        self, reason: str, said: str, *, status: int, looking: bool
    ) -> Rejected | Parked:
        """Return the outcome of what will never be let through.

        Who cannot look for an earlier attempt's effect must not say that there is none.
        """
        if looking and self.delivery.in_doubt:
            return Parked(reason=reason, detail=said, attempts=self.attempts)
        return Rejected(reason=reason, detail=said, status=status, attempts=self.attempts)


RETRY_INITIAL_S: Final = 0.2
RETRY_MAX_S: Final = 5.0

Answer: TypeAlias = Executed | RejectedByServer


class ApiClient:
    """Sends requests to a host.

    ``keeper`` is None where no token is asked for. There nothing harmless can be asked either:
    when the probe is due, one real delivery is let through, and its answer decides.
    """

    def __init__(
        self,
        context: Dependencies,
        host: Endpoint,
        *,
        keeper: TokenProvider | None = None,
        forbidden: frozenset[int] = ALWAYS_FORBIDDEN,
    ) -> None:
        self.host = host
        self._circuit = host.circuit
        self._http = context.http
        self._clock = context.clock
        self._random = context.random
        self._hooks = context.hooks
        self._keeper = keeper
        self._forbidden = forbidden
        self._trial: DeliveryContext | None = None

    def capacity(self, now: float, *, at_most: int) -> int:
        """Return how many deliveries may start now."""
        if self._circuit.is_open:
            at_most = min(at_most, 1 if self._trial_is_due(now) else 0)
        slots = self.host.slots
        at_most = min(at_most, slots.concurrency.limit * 2 - slots.in_use)
        return 0 if self.host.gate.closed_s(now) > 0 else max(0, at_most)

    async def call(self, request: Request, effort: DeliveryContext) -> Answer:
        """Send ``request`` until there is an answer.

        Raises:
            DeliveryEnded: there will be none now, or nobody can tell.
        """
        try:
            while True:
                await self._wait_for_place(effort)
                bearer = await self._bearer(effort)
                if not await self._take_slot(effort):
                    continue
                verdict = await self._send(request, bearer, effort)
                if isinstance(verdict, Executed | RejectedByServer):
                    self.host.on_response()
                    if self._trial is effort:
                        self.host.close()
                    return _read(verdict)
                await self._react(verdict, request, bearer, effort)
        finally:
            if self._trial is effort:
                self._end_trial()

    def deferred(self, reason: str, effort: DeliveryContext, *, refused: bool = False) -> Deferred:
        """Return the outcome of a delivery that has a better chance a little later."""
        wait_s = RETRY_MAX_S if refused else RETRY_INITIAL_S
        return effort.deferred(reason, self._clock() + wait_s, refused=refused)

    def in_doubt(self, reason: str, effort: DeliveryContext) -> InDoubt:
        """Return the outcome of a delivery that was or may have been executed just now."""
        return InDoubt(detail=reason, sent_at=self._clock(), attempts=effort.attempts)

    async def _wait_for_place(self, effort: DeliveryContext) -> None:
        """Wait for the circuit and the gate, as far as patience goes."""
        while True:
            now = self._clock()
            self._check_circuit(effort, now)
            patience_s = effort.patience_s(now)
            if self.host.gate.closed_s(now) > QUEUE_TIMEOUT_S:
                patience_s = 0.0
            wait_s = self.host.gate.reserve(now, patience_s=patience_s)
            if wait_s <= 0:
                return
            if wait_s > patience_s:
                raise DeliveryEnded(effort.deferred("throttled", now + wait_s))
            await asyncio.sleep(wait_s)
            if self.host.gate.closed_s(self._clock()) <= 0:
                self._check_circuit(effort, self._clock())
                return

    def _check_circuit(self, effort: DeliveryContext, now: float) -> None:
        if not self._circuit.is_open or self._trial is effort:
            return
        if self._trial_is_due(now):
            self._trial = effort
            return
        retry_at = max(now, self._circuit.probe_at)
        raise DeliveryEnded(effort.deferred("circuit_open", retry_at))

    def _trial_is_due(self, now: float) -> bool:
        return self._keeper is None and self._trial is None and now >= self._circuit.probe_at

    async def _bearer(self, effort: DeliveryContext) -> AccessToken | None:
        if self._keeper is None:
            return None
        while True:
            grant = self._keeper.current() or await self._keeper.bearer()
            match grant:
                case AccessToken():
                    return grant
                case TokenDenied():
                    self.host.open("credentials")
                    raise DeliveryEnded(effort.deferred("credentials", self._circuit.probe_at))
                case TokenUnavailable(_, retry_at):
                    if retry_at > effort.patient_until:
                        raise DeliveryEnded(effort.deferred("token", retry_at))
                    await asyncio.sleep(max(0.0, retry_at - self._clock()))
                case _:
                    assert_never(grant)

    async def _take_slot(self, effort: DeliveryContext) -> bool:
        """Take a slot; return False, without one, if the gate was shut while this one waited."""
        slots = self.host.slots
        if not await slots.acquire(patience_s=effort.patience_s(self._clock())):
            raise DeliveryEnded(self.deferred("busy", effort))
        if self.host.gate.closed_s(self._clock()) <= 0:
            return True
        slots.release()
        return False

    async def _send(
        self, request: Request, bearer: AccessToken | None, effort: DeliveryContext
    ) -> Classification:
        """Send, with a slot that was taken, and give that back."""
        slots = self.host.slots
        effort.requests += 1
        number, began_at = slots.taken, self._clock()
        verdict: Classification = OutOfLease()
        try:
            if request.writes:
                headers = bearer.write_headers if bearer else BARE_HEADERS
                may_send = effort.delivery.may_send
                evidence = await self._http.send(request, headers, may_send=may_send)
            else:
                headers = bearer.read_headers if bearer else BARE_HEADERS
                evidence = await self._http.send(request, headers)
            verdict = classify(evidence, writes=request.writes, forbidden=self._forbidden)
            # Before anything else that may fail: a defect after this leaves a doubt.
            if request.writes and not isinstance(verdict, NotExecuted | Throttled | OutOfLease):
                effort.attempts += 1
            self.host.on_rate_limit_headers(evidence, number=number)
        finally:
            took_s = self._clock() - began_at
            self.host.finished(request.name, verdict, took_s)
        self._hooks.request_finished(request.name, verdict.word, verdict.status, took_s)
        return verdict

    async def _react(
        self,
        verdict: Forbidden | Unauthorized | Throttled | NotExecuted | Ambiguous | OutOfLease,
        request: Request,
        bearer: AccessToken | None,
        effort: DeliveryContext,
    ) -> None:
        """Wait and return, so that the request is sent again, or end the delivery."""
        match verdict:
            case Throttled():
                self.host.throttle(verdict)
            case Unauthorized():
                self._renew_once(bearer, effort)
            case NotExecuted(reason):
                await self._retry(reason, effort)
            case Forbidden():
                self._forbid(verdict, request, effort)
            case Ambiguous(reason):
                self.host.on_failure()
                raise DeliveryEnded(self.in_doubt(reason, effort))
            case OutOfLease():
                raise DeliveryEnded(effort.deferred("lease", self._clock()))
            case _:
                assert_never(verdict)

    async def _retry(self, reason: str, effort: DeliveryContext) -> None:
        self.host.on_failure()
        effort.failures += 1
        now = self._clock()
        wait_s = backoff_s(
            effort.failures, initial_s=RETRY_INITIAL_S, max_s=1.0, jitter=self._random()
        )
        if now + wait_s < effort.patient_until:
            await asyncio.sleep(wait_s)
            return
        # The longer nobody answers, the rarer the question: failures are counted for the host.
        wait_s = backoff_s(
            self._circuit.failures,
            initial_s=RETRY_INITIAL_S,
            max_s=RETRY_MAX_S,
            jitter=self._random(),
        )
        raise DeliveryEnded(effort.deferred(reason, now + wait_s))

    def _renew_once(self, bearer: AccessToken | None, effort: DeliveryContext) -> None:
        """Drop the token, so that the next turn gets another; the second refusal is final."""
        if self._keeper is None or bearer is None or effort.resent:
            self.host.open("unauthorized")
            raise DeliveryEnded(effort.deferred("unauthorized", self._after_probe(), refused=True))
        effort.resent = True
        self._keeper.discard(bearer)

    def _forbid(self, verdict: Forbidden, request: Request, effort: DeliveryContext) -> NoReturn:
        """Open the circuit, unless just this delivery is what is forbidden.

        The circuit is closed here only if something else passed since it was opened: what
        was forbidden before, and is again, has itself to blame.
        """
        personal = verdict.personal and effort.delivery.refused > 0
        if personal and not self._circuit.is_open:
            said = f"status {verdict.status}, again, while other requests pass"
            looking = not request.writes
            raise DeliveryEnded(
                effort.turned_away("forbidden", said, status=verdict.status, looking=looking)
            )
        self.host.open(verdict.reason)
        raise DeliveryEnded(
            effort.deferred(verdict.reason, self._after_probe(), refused=verdict.personal)
        )

    def _after_probe(self) -> float:
        """Return when to try again what was forbidden: others go first, as their own trial."""
        return self._circuit.probe_at + (RETRY_MAX_S if self._keeper is None else 0.0)

    def _end_trial(self) -> None:
        self._trial = None
        if self._circuit.is_open:
            self._circuit.probe_failed(now=self._clock())


def _read(answer: Answer) -> Answer:
    """Return the answer for what it says: an error under a good status is a refusal."""
    if isinstance(answer, Executed) and is_error(answer.body):
        return RejectedByServer(answer.status, answer.body)
    return answer
