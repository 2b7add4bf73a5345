"""API client of one host: rate limit, token, circuit breaker, permits and retries.

A call returns a reply (executed or rejected) or raises ``DeliveryFailedError`` with the
delivery's outcome. A request that may have been executed is never sent again from here.
"""

import asyncio
from typing import Final, NoReturn, TypeAlias, assert_never

from sink.classify import (
    ALWAYS_FORBIDDEN,
    Ambiguous,
    Classification,
    Executed,
    Forbidden,
    LeaseExpired,
    NotExecuted,
    RejectedByServer,
    Throttled,
    Unauthorized,
    classify,
)
from sink.delivery import (
    Deferred,
    Delivery,
    InDoubt,
    Parked,
    Rejected,
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
from sink.wootric.endpoint import Dependencies, Endpoint
from sink.wootric.replies import detail, is_error

# One delivery in progress: its budget and its possible outcomes


QUEUE_TIMEOUT_S: Final = 2.0  # a delivery that would wait longer is deferred and frees its permit
# A delivery that has already sent a request waits longer for its next one: deferring it would
# repeat the look-up, and at a low rate limit it would never finish.
STARTED_QUEUE_TIMEOUT_S: Final = 600.0


class DeliveryFailedError(Exception):
    """The delivery ends without a confirmed effect; ``outcome`` is what it returns."""

    def __init__(self, outcome: Rejected | Parked | InDoubt | Deferred) -> None:
        super().__init__(type(outcome).__name__)
        self.outcome = outcome


class DeliveryContext:
    """Budget and counters of one delivery.

    ``deadline`` (monotonic seconds) bounds its waits, counted from ``begin``. ``requests`` counts
    requests sent, ``attempts`` writes that may have been executed, ``failures`` consecutive
    failures. ``resent`` is True once a token was renewed for it, which happens at most once.
    """

    __slots__ = ("attempts", "deadline", "delivery", "failures", "requests", "resent")

    def __init__(self, delivery: Delivery, *, now: float) -> None:
        self.delivery = delivery
        self.deadline = now + QUEUE_TIMEOUT_S
        self.requests = 0
        self.attempts = 0
        self.failures = 0
        self.resent = False

    def begin(self, now: float) -> None:
        """Start its time: it no longer waits for other deliveries."""
        self.deadline = now + QUEUE_TIMEOUT_S

    @property
    def remaining_requests(self) -> int:
        """The estimated number of API requests that it has yet to send."""
        delivery = self.delivery
        in_all = delivery.operation.estimated_requests(delivery.known, in_doubt=delivery.in_doubt)
        return max(0, in_all - self.requests)

    def remaining_wait_s(self, now: float) -> float:
        """Return the seconds for which it may wait before its next request."""
        return STARTED_QUEUE_TIMEOUT_S if self.requests else max(0.0, self.deadline - now)

    def deferred(
        self, reason: str, retry_at: float, *, refused: bool = False, isolated: bool = False
    ) -> Deferred:
        """Return the outcome of an operation that was not executed and will be retried."""
        return Deferred(
            reason=reason,
            retry_at=retry_at,
            refused=refused,
            attempts=self.attempts,
            isolated=isolated,
            requests=self.requests,
        )

    def rejected(self, reply: RejectedByServer, reason: str) -> Rejected:
        """Return the outcome of a rejection by the server."""
        return Rejected(
            reason=reason,
            detail=detail(reply.body),
            status=reply.status,
            attempts=self.attempts,
        )

    def refused_for_good(
        self, reason: str, message: str, *, status: int, is_lookup: bool
    ) -> Rejected | Parked:
        """Return the outcome of a request that the server will never accept.

        If a refused look-up prevents the search for an earlier attempt's effect, the operation is
        parked: rejecting it would claim that there is no effect.
        """
        if is_lookup and self.delivery.in_doubt:
            return Parked(reason=reason, detail=message, attempts=self.attempts)
        return Rejected(reason=reason, detail=message, status=status, attempts=self.attempts)


RETRY_INITIAL_S: Final = 0.2
RETRY_MAX_S: Final = 5.0

Reply: TypeAlias = Executed | RejectedByServer


class ApiClient:
    """Sends requests to one host.

    ``tokens`` is None for a host without authentication. Such a host also has no harmless request
    to probe with: when a probe is due, one real delivery is let through, and its reply decides.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        endpoint: Endpoint,
        *,
        tokens: TokenProvider | None = None,
        forbidden: frozenset[int] = ALWAYS_FORBIDDEN,
    ) -> None:
        self.endpoint = endpoint
        self._circuit = endpoint.circuit
        self._http = dependencies.http
        self._clock = dependencies.clock
        self._random = dependencies.random
        self._hooks = dependencies.hooks
        self._tokens = tokens
        self._forbidden = forbidden
        self._probe: DeliveryContext | None = None

    def capacity(self, now: float, *, at_most: int) -> int:
        """Return the number of deliveries that may start now."""
        if self._circuit.is_open:
            at_most = min(at_most, 1 if self._probe_is_due(now) else 0)
        permits = self.endpoint.permits
        at_most = min(at_most, permits.concurrency.limit * 2 - permits.in_use)
        return 0 if self.endpoint.rate_limiter.blocked_s(now) > 0 else max(0, at_most)

    async def call(self, request: Request, context: DeliveryContext) -> Reply:
        """Send ``request``, with retries, and return the reply.

        Raises:
            DeliveryFailedError: no reply can be had now, or the request may have been executed.
        """
        try:
            while True:
                await self._wait_for_place(context)
                token = await self._get_token(context)
                if not await self._acquire_permit(context):
                    continue
                verdict = await self._send(request, token, context)
                if isinstance(verdict, Executed | RejectedByServer):
                    self.endpoint.on_response(request, context.delivery.request_id)
                    if self._probe is context:
                        self.endpoint.close()
                    return _read(verdict)
                await self._react(verdict, request, token, context)
        finally:
            if self._probe is context:
                self._finish_probe()

    def deferred(self, reason: str, context: DeliveryContext, *, refused: bool = False) -> Deferred:
        """Return the outcome of a delivery to retry after a short wait."""
        wait_s = RETRY_MAX_S if refused else RETRY_INITIAL_S
        return context.deferred(reason, self._clock() + wait_s, refused=refused)

    def in_doubt(self, reason: str, context: DeliveryContext, *, isolated: bool = False) -> InDoubt:
        """Return the outcome of a delivery that has or may have been executed just now."""
        return InDoubt(
            detail=reason,
            sent_at=self._clock(),
            attempts=context.attempts,
            isolated=isolated,
            requests=context.requests,
        )

    async def _wait_for_place(self, context: DeliveryContext) -> None:
        """Wait for the circuit and the rate limiter.

        Raises:
            DeliveryFailedError: the circuit is open, or the wait would be too long.
        """
        while True:
            now = self._clock()
            self._check_circuit(context, now)
            max_wait_s = context.remaining_wait_s(now)
            if self.endpoint.rate_limiter.blocked_s(now) > QUEUE_TIMEOUT_S:
                max_wait_s = 0.0
            wait_s = self.endpoint.rate_limiter.reserve(now, max_wait_s=max_wait_s)
            if wait_s <= 0:
                return
            if wait_s > max_wait_s:
                raise DeliveryFailedError(context.deferred("throttled", now + wait_s))
            await asyncio.sleep(wait_s)
            if self.endpoint.rate_limiter.blocked_s(self._clock()) <= 0:
                self._check_circuit(context, self._clock())
                return

    def _check_circuit(self, context: DeliveryContext, now: float) -> None:
        if not self._circuit.is_open or self._probe is context:
            return
        if self._probe_is_due(now):
            self._probe = context
            return
        retry_at = max(now, self._circuit.probe_at)
        raise DeliveryFailedError(context.deferred("circuit_open", retry_at))

    def _probe_is_due(self, now: float) -> bool:
        return self._tokens is None and self._probe is None and now >= self._circuit.probe_at

    async def _get_token(self, context: DeliveryContext) -> AccessToken | None:
        if self._tokens is None:
            return None
        while True:
            grant = self._tokens.current() or await self._tokens.get()
            match grant:
                case AccessToken():
                    return grant
                case TokenDenied():
                    self.endpoint.open("credentials")
                    raise DeliveryFailedError(
                        context.deferred("credentials", self._circuit.probe_at)
                    )
                case TokenUnavailable(_, retry_at):
                    if retry_at > context.deadline:
                        raise DeliveryFailedError(context.deferred("token", retry_at))
                    await asyncio.sleep(max(0.0, retry_at - self._clock()))
                case _:
                    assert_never(grant)

    async def _acquire_permit(self, context: DeliveryContext) -> bool:
        """Acquire a permit; return False, without one, if the host blocked during the wait."""
        permits = self.endpoint.permits
        if not await permits.acquire(timeout_s=context.remaining_wait_s(self._clock())):
            raise DeliveryFailedError(self.deferred("busy", context))
        if self.endpoint.rate_limiter.blocked_s(self._clock()) <= 0:
            return True
        permits.release()
        return False

    async def _send(
        self, request: Request, token: AccessToken | None, context: DeliveryContext
    ) -> Classification:
        """Send with the permit that was acquired, and release it."""
        permits = self.endpoint.permits
        context.requests += 1
        number, began_at = permits.acquired, self._clock()
        verdict: Classification = LeaseExpired()
        try:
            if request.writes:
                headers = token.write_headers if token else BARE_HEADERS
                may_send = context.delivery.may_send
                evidence = await self._http.send(request, headers, may_send=may_send)
            else:
                headers = token.read_headers if token else BARE_HEADERS
                evidence = await self._http.send(request, headers)
            verdict = classify(
                evidence,
                writes=request.writes,
                forbidden=self._forbidden,
                accepts=request.accepts,
            )
            # Before anything else that may raise: an error after this must leave it in doubt.
            if request.writes and not isinstance(verdict, NotExecuted | Throttled | LeaseExpired):
                context.attempts += 1
            self.endpoint.on_rate_limit_headers(evidence, number=number)
        finally:
            took_s = self._clock() - began_at
            self.endpoint.finished(request.name, verdict, took_s)
        self._hooks.request_finished(request.name, verdict.label, verdict.status, took_s)
        return verdict

    async def _react(
        self,
        verdict: Forbidden | Unauthorized | Throttled | NotExecuted | Ambiguous | LeaseExpired,
        request: Request,
        token: AccessToken | None,
        context: DeliveryContext,
    ) -> None:
        """Return when the request may be sent again.

        Raises:
            DeliveryFailedError: it must not be sent again by this delivery.
        """
        match verdict:
            case Throttled():
                self.endpoint.throttle(verdict)
            case Unauthorized():
                self._renew_once(token, context)
            case NotExecuted(reason):
                await self._retry(reason, request, context)
            case Forbidden():
                self._forbid(verdict, request, context)
            case Ambiguous(reason):
                isolated = self.endpoint.on_failure(request, context.delivery.request_id)
                raise DeliveryFailedError(self.in_doubt(reason, context, isolated=isolated))
            case LeaseExpired():
                raise DeliveryFailedError(context.deferred("lease", self._clock()))
            case _:
                assert_never(verdict)

    async def _retry(self, reason: str, request: Request, context: DeliveryContext) -> None:
        now = self._clock()
        if self.endpoint.on_failure(request, context.delivery.request_id):
            raise DeliveryFailedError(context.deferred(reason, now, isolated=True))
        context.failures += 1
        wait_s = backoff_s(
            context.failures, initial_s=RETRY_INITIAL_S, max_s=1.0, jitter=self._random()
        )
        if now + wait_s < context.deadline:
            await asyncio.sleep(wait_s)
            return
        # Back off by the host's failures, so that requests become rarer during an outage.
        wait_s = backoff_s(
            self._circuit.failures,
            initial_s=RETRY_INITIAL_S,
            max_s=RETRY_MAX_S,
            jitter=self._random(),
        )
        raise DeliveryFailedError(context.deferred(reason, now + wait_s))

    def _renew_once(self, token: AccessToken | None, context: DeliveryContext) -> None:
        """Drop the token so that the next attempt gets a new one; a second 401 is final."""
        if self._tokens is None or token is None or context.resent:
            self.endpoint.open("unauthorized")
            raise DeliveryFailedError(
                context.deferred("unauthorized", self._after_probe(), refused=True)
            )
        context.resent = True
        self._tokens.discard(token)

    def _forbid(self, verdict: Forbidden, request: Request, context: DeliveryContext) -> NoReturn:
        """Open the circuit, unless only this delivery is forbidden.

        A closed circuit means that another request succeeded since this delivery opened it. If
        the delivery is forbidden again, the cause is the delivery itself.
        """
        personal = verdict.personal and context.delivery.refused > 0
        if personal and not self._circuit.is_open:
            raise DeliveryFailedError(
                context.refused_for_good(
                    "forbidden",
                    f"status {verdict.status} again, while other requests succeed",
                    status=verdict.status,
                    is_lookup=not request.writes,
                )
            )
        self.endpoint.open(verdict.reason)
        raise DeliveryFailedError(
            context.deferred(verdict.reason, self._after_probe(), refused=verdict.personal)
        )

    def _after_probe(self) -> float:
        """Return when to retry a forbidden delivery: after another one has served as the probe."""
        return self._circuit.probe_at + (RETRY_MAX_S if self._tokens is None else 0.0)

    def _finish_probe(self) -> None:
        self._probe = None
        if self._circuit.is_open:
            self._circuit.probe_failed(now=self._clock())


def _read(reply: Reply) -> Reply:
    """Return the reply; an error body with a 2xx status counts as a rejection."""
    if isinstance(reply, Executed) and is_error(reply.body):
        return RejectedByServer(reply.status, reply.body)
    return reply
