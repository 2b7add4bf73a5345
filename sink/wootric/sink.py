"""The Wootric sink: takes deliveries and returns their outcomes."""

import asyncio
import time
from collections.abc import Callable, Container
from contextlib import suppress
from random import Random
from typing import assert_never, cast

from sink.classify import Executed, Forbidden, Throttled, Unauthorized, classify
from sink.concurrency import AdaptiveConcurrency
from sink.delivery import (
    Delivery,
    EndUser,
    InDoubt,
    Outcome,
    SinkListener,
)
from sink.http_session import PermitPool
from sink.models import Transport
from sink.rate_limit import CircuitBreaker, RateLimiter
from sink.wootric.auth import AccessToken, TokenDenied, TokenProvider, TokenResult, WootricAccount
from sink.wootric.client import ApiClient, DeliveryContext, DeliveryFailedError
from sink.wootric.end_users import EndUserResolver, EndUsers, Lookup
from sink.wootric.endpoint import Dependencies, Endpoint
from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    PageView,
    UpsertEndUser,
    WootricOperation,
)
from sink.wootric.pages import Pages
from sink.wootric.surveys import Survey, Surveys

AUTHORIZE_S_MAX = 10.0
FAILURES_MAX = 20
# The pixel has no credentials: these mean that its URL or the account is wrong.
PIXEL_FORBIDDEN = frozenset({401, 402, 403, 404})


class WootricSink:
    """Delivers operations to one account, between ``start`` and ``close``.

    ``clock`` returns monotonic seconds, ``wall_clock`` Unix seconds, ``random`` numbers in
    [0, 1); ``credentials`` returns the account's current credentials if they may be replaced at
    runtime.
    """

    def __init__(
        self,
        config: WootricAccount,
        *,
        session: Transport,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        random: Callable[[], float] | None = None,
        hooks: SinkListener | None = None,
        credentials: Callable[[], dict[str, str]] | None = None,
    ) -> None:
        self._dependencies = Dependencies(
            http=session,
            clock=clock,
            wall_clock=wall_clock,
            random=random or Random().random,  # noqa: S311  (jitter, not a secret)
            hooks=hooks or SinkListener(),
        )
        self._config = config
        self._clock = clock
        self._contexts: set[DeliveryContext] = set()
        self._slots = asyncio.Semaphore(config.in_flight_max)
        self._probing: asyncio.Task[None] | None = None
        self._tokens = TokenProvider(self._dependencies, config, credentials)
        self._requests = config.requests()
        pace = config.requests_per_minute
        self._api = ApiClient(
            self._dependencies, self._endpoint("api", requests_per_minute=pace), tokens=self._tokens
        )
        self._pixel = ApiClient(
            self._dependencies, self._endpoint("pixel"), forbidden=PIXEL_FORBIDDEN
        )
        lookup = Lookup(self._api, self._requests)
        known = EndUserResolver(lookup, self._dependencies.hooks.identity_conflict)
        self._end_users = EndUsers(self._api, lookup, known, self._requests)
        self._surveys = Surveys(self._api, lookup, self._end_users, known, self._requests)
        self._pages = Pages(self._pixel, lookup, self._requests)

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Deliver the operation at most once, as soon as fewer than ``in_flight_max`` are running.

        Raises only on cancellation.
        """
        context = DeliveryContext(delivery, now=self._clock())
        self._contexts.add(context)
        try:
            async with self._slots:
                context.begin(self._clock())
                return await self._deliver(context)
        except DeliveryFailedError as end:
            return end.outcome
        except Exception as error:  # noqa: BLE001  (a bug here must not lose or repeat an event)
            return self._defect(error, context)
        finally:
            self._contexts.discard(context)

    async def find_surveys(
        self, survey: Survey, *, known: EndUser | None, claimed: Container[int]
    ) -> list[int]:
        """Return the ids of Wootric's surveys that agree with ``survey`` in all fields they show.

        ``claimed`` contains the ids that other receipts name. Sends only look-ups.

        Raises:
            DeliveryFailedError: a look-up was refused, or is not possible now.
        """
        delivery = Delivery(
            request_id="", operation=survey, may_send=lambda: False, known=known, claimed=claimed
        )
        return await self._surveys.find(survey, DeliveryContext(delivery, now=self._clock()))

    def capacity(self, now: float, *, unlimited: bool = False) -> int:
        """Return the number of deliveries that may be released at ``now``.

        As many again as may be in flight are queued, so that a delivery waits for another one and
        not for the transaction that releases it. ``unlimited`` asks for page views. The caller
        subtracts those released whose ``deliver`` has not been called yet.
        """
        free = self._config.in_flight_max * 2 - len(self._contexts)
        return (self._pixel if unlimited else self._api).capacity(now, at_most=free)

    def requests(self, now: float, *, within_s: float) -> float:
        """Return the number of API requests that may start within ``within_s``; inf if unlimited.

        Requests that deliveries in progress still need are subtracted. The caller subtracts those
        of releases whose ``deliver`` has not been called yet.
        """
        soon = self._api.endpoint.rate_limiter.available_within(now, within_s=within_s)
        return (
            soon
            if soon == float("inf")
            else soon - sum(one.remaining_requests for one in self._contexts)
        )

    def circuits(self) -> dict[str, str | None]:
        """Return the reason for which each circuit is open; None for a closed one."""
        endpoints = (self._api.endpoint, self._pixel.endpoint)
        return {endpoint.name: endpoint.circuit.reason for endpoint in endpoints}

    def share(self, owned: int, total: int) -> None:
        """Set this worker's share of the account's rate: ``owned`` of ``total`` partitions."""
        rate_limiter = self._api.endpoint.rate_limiter
        rate_limiter.share(owned / total)
        self._dependencies.hooks.pace_changed(rate_limiter.per_minute)

    async def authorize(self) -> TokenResult:
        """Request a token now; open the API's circuit if the credentials are refused.

        Until a probe finds them accepted, nothing is sent and deliveries request no token.
        """
        grant = await self._tokens.fresh()
        if isinstance(grant, TokenDenied):
            self._api.endpoint.open("credentials")
        return grant

    async def probe(self) -> bool:
        """Request a token and send the probe; close the API's circuit if both succeed."""
        began_at = self._clock()
        silent = self._api.endpoint.circuit.reason == "unreachable"
        held = self._tokens.current() if silent else None  # the token itself is not in question
        grant = held or await self.authorize()
        if isinstance(grant, AccessToken):
            evidence = await self._dependencies.http.send(
                self._requests.probe(), grant.read_headers
            )
            verdict = classify(evidence, writes=False)
            self._dependencies.hooks.request_finished(
                "probe", verdict.label, verdict.status, self._clock() - began_at
            )
            if isinstance(verdict, Throttled):
                self._api.endpoint.throttle(verdict)
            if isinstance(verdict, Executed | Throttled):
                self._api.endpoint.close()
                return True
            if isinstance(verdict, Unauthorized):
                self._tokens.discard(grant)
            if isinstance(verdict, Forbidden):
                self._api.endpoint.open(verdict.reason)
        self._api.endpoint.circuit.probe_failed(now=self._clock())
        return False

    async def start(self) -> None:
        """Request a token; from now on, probe whenever the API's circuit is open.

        A refused token opens the circuit. It returns even if Wootric does not respond.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self.authorize(), AUTHORIZE_S_MAX)
        self._probing = asyncio.create_task(self.run())

    async def run(self) -> None:
        """Probe whenever the API's circuit is open, until cancelled."""
        while True:
            await self._api.endpoint.circuit_opened.wait()
            wait_s = self._api.endpoint.circuit.probe_at - self._clock()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            elif self._api.endpoint.circuit.is_open:
                await self.probe()

    async def close(self) -> None:
        """Stop background tasks. The caller awaits deliveries in progress."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await self._tokens.close()

    async def _deliver(self, context: DeliveryContext) -> Outcome:
        operation = cast("WootricOperation", context.delivery.operation)
        match operation:
            case UpsertEndUser():
                return await self._end_users.upsert(operation, context)
            case PageView():
                return await self._pages.view(operation, context)
            case CreateResponse() | CreateDecline():
                return await self._surveys.record(operation, context)
            case DeleteEndUser():
                return await self._end_users.delete(operation, context)
            case _:
                assert_never(operation)

    def _defect(self, error: Exception, context: DeliveryContext) -> Outcome:
        """Return the outcome after an unexpected exception."""
        now = self._clock()
        detail = f"internal: {type(error).__name__}"
        if context.attempts:
            return InDoubt(
                detail=detail,
                sent_at=now,
                attempts=context.attempts,
                isolated=True,
                requests=context.requests,
            )
        retry_at = now + self._config.probe_interval_s
        return context.deferred(detail, retry_at, isolated=True)

    def _endpoint(self, name: str, *, requests_per_minute: int = 0) -> Endpoint:
        circuit = CircuitBreaker(
            probe_interval_s=self._config.probe_interval_s, failures_max=FAILURES_MAX
        )
        now = self._clock()
        rate_limiter = RateLimiter(requests_per_minute=requests_per_minute, now=now)
        concurrency = AdaptiveConcurrency(limit_max=self._config.in_flight_max, now=now)
        return Endpoint(
            self._dependencies,
            name,
            circuit=circuit,
            rate_limiter=rate_limiter,
            permits=PermitPool(concurrency),
        )
