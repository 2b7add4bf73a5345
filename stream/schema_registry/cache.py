"""Cache of a registry's schemas by id; each is fetched once, without blocking the event loop."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from sink.rate_limit import backoff_s
from stream.codec.avro import Schema, confluent_id, schema_from_text
from stream.codec.decode import other_framing
from stream.errors import DecodeError
from stream.schema_registry.client import (
    NotRegisteredError,
    Registered,
    RegistryClient,
    RegistryUnavailableError,
)


@dataclass(frozen=True, slots=True)
class SchemaWait:
    """Why records wait: the registry is unavailable, or does not know the schema (yet)."""

    schema_id: int
    is_unknown: bool
    detail: str


log = structlog.get_logger()

AGAIN_S = 0.2
AGAIN_S_MAX = 5.0
RECHECK_S = 30.0
GIVEN_UP_MAX = 10_000


class SchemaCache:
    """A cache of one registry's schemas without eviction: the schema of an id never changes.

    ``changed`` is called when an id has become known or was given up, ``waiting`` after each
    attempt without a result. Both are called on the event loop.
    """

    def __init__(
        self,
        client: RegistryClient,
        *,
        unknown_id_timeout_s: float,
        changed: Callable[[], None] = lambda: None,
        waiting: Callable[[SchemaWait], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.changed = changed
        self.waiting = waiting
        self._client = client
        self._unknown_wait_s = unknown_id_timeout_s
        self._clock = clock
        self._known: dict[int, Schema | DecodeError] = {}
        self._wanted: dict[int, float | None] = {}
        self._given_up: dict[int, float] = {}
        self._task: asyncio.Task[None] | None = None

    def by_id(self, schema_id: int) -> Schema | None:
        """Return the schema of an id; None if it is not known.

        Raises:
            DecodeError: the registry's schema of this id is unusable.
        """
        found = self._known.get(schema_id)
        if isinstance(found, DecodeError):
            raise DecodeError(found.reason, found.detail)
        return found

    def missing(self, value: bytes | None) -> int | None:
        """Return the id whose schema is needed to decode a value, and start fetching it; None if
        there is nothing to wait for. A value in another framing that begins with a zero byte too
        has no id.
        """
        schema_id = confluent_id(value)
        if value is None or schema_id is None or schema_id in self._known:
            return None
        if other_framing(value) is not None:
            return None
        given_up_at = self._given_up.get(schema_id, -math.inf)
        if schema_id not in self._wanted and self._clock() - given_up_at <= RECHECK_S:
            return None
        self._want(schema_id)
        return schema_id

    def learn(self, registered: Registered) -> None:
        """Add a schema of the registry."""
        self._known[registered.id] = usable(registered)

    async def close(self) -> None:
        """Stop fetching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _want(self, schema_id: int) -> None:
        self._wanted.setdefault(schema_id, None)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._look_up())

    async def _look_up(self) -> None:
        """Fetch all wanted schemas, one after another, until none is left."""
        attempt = 1
        while self._wanted:
            told = False
            for schema_id in list(self._wanted):
                try:
                    told |= await self._ask(schema_id)
                except RegistryUnavailableError as error:
                    detail = f"the schema registry is unavailable: {error}"
                    self.waiting(SchemaWait(schema_id, False, detail))
                    told |= self._give_up_again()
                    break
            if told:
                attempt = 1
                self.changed()
            if self._wanted:
                await asyncio.sleep(backoff_s(attempt, initial_s=AGAIN_S, max_s=AGAIN_S_MAX))
                attempt += 1

    async def _ask(self, schema_id: int) -> bool:
        """Fetch one schema; return whether its records no longer have to wait."""
        try:
            self.learn(await self._client.schema(schema_id))
        except NotRegisteredError:
            return self._not_there(schema_id)
        self._wanted.pop(schema_id, None)
        self._given_up.pop(schema_id, None)
        log.info("schema_found", schema_id=schema_id)
        return True

    def _not_there(self, schema_id: int) -> bool:
        now = self._clock()
        since = self._wanted[schema_id] or now
        self._wanted[schema_id] = since
        if schema_id in self._given_up or now - since >= self._unknown_wait_s:
            del self._wanted[schema_id]
            self._give_up(schema_id, now)
            return True
        detail = f"the schema registry does not know the id {schema_id}"
        self.waiting(SchemaWait(schema_id, True, detail))
        return False

    def _give_up_again(self) -> bool:
        """Hold no record up for an id that was unknown before; return whether there is one."""
        again = self._wanted.keys() & self._given_up.keys()
        for schema_id in again:
            del self._wanted[schema_id]
            self._give_up(schema_id, self._clock())
        return bool(again)

    def _give_up(self, schema_id: int, now: float) -> None:
        if schema_id not in self._given_up:
            log.error("schema_unknown", schema_id=schema_id)
        self._given_up[schema_id] = now
        if len(self._given_up) > GIVEN_UP_MAX:
            del self._given_up[next(iter(self._given_up))]


def usable(registered: Registered) -> Schema | DecodeError:
    """Return the schema, or the error that prevents decoding its values."""
    if registered.kind == "JSON":
        detail = (
            f"schema {registered.id} is JSON Schema: write plain JSON and use "
            "`bridge --from-topic`, or write Avro"
        )
        return DecodeError("unresolvable", detail)
    if registered.kind != "AVRO":
        return DecodeError("unresolvable", f"schema {registered.id} is {registered.kind}, not Avro")
    try:
        return schema_from_text(registered.text, registered.referenced)
    except DecodeError as error:
        return error
