"""The Wootric sink: a delivery in, one outcome out."""

import asyncio
import time
from collections.abc import Callable
from random import Random
from typing import assert_never

from sink.circuit_breaker import CircuitBreaker
from sink.classify import Executed, Forbidden, Throttled, Unauthorized, classify
from sink.concurrency import AdaptiveConcurrency
from sink.models import Transport
from sink.permits import PermitPool
from sink.rate_limit import RateLimiter
from sink.wootric.auth import AccessToken, TokenDenied, TokenProvider, TokenResult, WootricAccount
from sink.wootric.client import ApiClient, DeliveryContext, DeliveryEnded
from sink.wootric.delivery import Deferred, Delivery, InDoubt, Outcome, SinkListener
from sink.wootric.end_users import EndUserResolver, EndUsers
from sink.wootric.endpoint import Dependencies, Endpoint
from sink.wootric.lookup import Lookup
from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    PageView,
    UpsertEndUser,
)
from sink.wootric.pages import Pages
from sink.wootric.requests import Requests
from sink.wootric.surveys import Surveys

FAILURES_MAX = 20
# The pixel knows no credentials: these say that its address or the account is wrong.
PIXEL_FORBIDDEN = frozenset({401, 402, 403, 404})


class WootricSink:
    """Delivers operations to one account. ``start`` it, and ``close`` it at the end.

    ``clock`` gives monotonic seconds, ``wall_clock`` Unix seconds, ``random`` numbers in [0, 1);
    ``credentials`` those of the account, where they may be replaced meanwhile.
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
        self._context = Dependencies(
            http=session,
            clock=clock,
            wall_clock=wall_clock,
            random=random or Random().random,  # noqa: S311  (jitter, not a secret)
            hooks=hooks or SinkListener(),
        )
        self._config = config
        self._clock = clock
        self._efforts: set[DeliveryContext] = set()
        self._probing: asyncio.Task[None] | None = None
        self._keeper = TokenProvider(self._context, config, credentials)
        self._requests = Requests(
            resources_url=config.resources_url,
            pixel_url=config.pixel_url,
            account_token=config.account_token,
        )
        pace = config.requests_per_minute
        self._api = ApiClient(
            self._context, self._host("api", requests_per_minute=pace), keeper=self._keeper
        )
        self._pixel = ApiClient(self._context, self._host("pixel"), forbidden=PIXEL_FORBIDDEN)
        lookup = Lookup(self._api, self._requests)
        known = EndUserResolver(lookup, self._context.hooks.identity_conflict)
        self._end_users = EndUsers(self._api, lookup, known, self._requests)
        self._surveys = Surveys(self._api, self._end_users, known, self._requests)
        self._pages = Pages(self._pixel, lookup, self._requests)

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Bring the operation to Wootric, at most once. Raises nothing but cancellation."""
        effort = DeliveryContext(delivery, now=self._clock())
        self._efforts.add(effort)
        try:
            return await self._deliver(effort)
        except DeliveryEnded as end:
            return end.outcome
        except Exception as error:  # noqa: BLE001  (a defect here must not lose or repeat an event)
            return self._defect(error, effort)
        finally:
            self._efforts.discard(effort)

    def capacity(self, now: float, *, page: bool = False) -> int:
        """Return how many more deliveries may be released at ``now``.

        Those released whose ``deliver`` was not called yet are the caller's to subtract.
        """
        free = self._config.in_flight_max - len(self._efforts)
        return (self._pixel if page else self._api).capacity(now, at_most=free)

    def requests(self, now: float, *, within_s: float) -> float:
        """Return how many more API requests may begin within so many seconds; inf without a limit.

        What is being delivered has the first claim on them; the same holds of releases.
        """
        soon = self._api.host.gate.available_within(now, within_s=within_s)
        return (
            soon
            if soon == float("inf")
            else soon - sum(one.remaining_requests for one in self._efforts)
        )

    def circuits(self) -> dict[str, str | None]:
        """Return for each circuit why it is open; None for a closed one."""
        return {host.name: host.circuit.reason for host in (self._api.host, self._pixel.host)}

    def share(self, owned: int, total: int) -> None:
        """Take the part of the account's rate that this worker's partitions are of all."""
        gate = self._api.host.gate
        gate.share(owned / total)
        self._context.hooks.pace_changed(gate.per_minute)

    async def authorize(self) -> TokenResult:
        """Ask for a token now; open the API's circuit if the credentials are refused.

        Nothing is sent then until a probe finds them accepted: not tried again by whoever asks.
        """
        grant = await self._keeper.fresh()
        if isinstance(grant, TokenDenied):
            self._api.host.open("credentials")
        return grant

    async def probe(self) -> bool:
        """Ask the API for a token and something harmless; close its circuit if it gives both."""
        began_at = self._clock()
        silent = self._api.host.circuit.reason == "unreachable"
        held = self._keeper.current() if silent else None  # where only the silence is in question
        grant = held or await self.authorize()
        if isinstance(grant, AccessToken):
            evidence = await self._context.http.send(self._requests.probe(), grant.read_headers)
            verdict = classify(evidence, writes=False)
            self._context.hooks.request_finished(
                "probe", verdict.word, verdict.status, self._clock() - began_at
            )
            if isinstance(verdict, Throttled):
                self._api.host.throttle(verdict)
            if isinstance(verdict, Executed | Throttled):
                self._api.host.close()
                return True
            if isinstance(verdict, Unauthorized):
                self._keeper.discard(grant)
            if isinstance(verdict, Forbidden):
                self._api.host.open(verdict.reason)
        self._api.host.circuit.probe_failed(now=self._clock())
        return False

    async def start(self) -> None:
        """Begin to probe in the background whenever the API's circuit is open."""
        self._probing = asyncio.create_task(self.run())

    async def run(self) -> None:
        """Probe whenever the API's circuit is open, for ever."""
        while True:
            await self._api.host.circuit_opened.wait()
            wait_s = self._api.host.circuit.probe_at - self._clock()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            elif self._api.host.circuit.is_open:
                await self.probe()

    async def close(self) -> None:
        """End what runs in the background. Deliveries under way are the caller's to await."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await self._keeper.close()

    async def _deliver(self, effort: DeliveryContext) -> Outcome:
        operation = effort.delivery.operation
        match operation:
            case UpsertEndUser():
                return await self._end_users.upsert(operation, effort)
            case PageView():
                return await self._pages.view(operation, effort)
            case CreateResponse() | CreateDecline():
                return await self._surveys.record(operation, effort)
            case DeleteEndUser():
                return await self._end_users.delete(operation, effort)
            case _:
                assert_never(operation)

    def _defect(self, error: Exception, effort: DeliveryContext) -> Outcome:
        """Return what may be said after an error of our own."""
        now = self._clock()
        detail = f"internal: {type(error).__name__}"
        if effort.attempts:
            return InDoubt(detail=detail, sent_at=now, attempts=effort.attempts)
        return Deferred(reason=detail, retry_at=now + self._config.probe_interval_s)

    def _host(self, name: str, *, requests_per_minute: int = 0) -> Endpoint:
        circuit = CircuitBreaker(
            probe_interval_s=self._config.probe_interval_s, failures_max=FAILURES_MAX
        )
        now = self._clock()
        gate = RateLimiter(requests_per_minute=requests_per_minute, now=now)
        most = self._config.concurrency_max or self._config.in_flight_max
        concurrency = AdaptiveConcurrency(most=most, now=now)
        return Endpoint(
            self._context, name, circuit=circuit, gate=gate, slots=PermitPool(concurrency)
        )
