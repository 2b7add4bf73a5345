"""The schemas that a registry keeps, by id: each is asked for once, without holding up the loop."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from stream.codec.avro import Schema, confluent_id, schema_from_text
from stream.errors import DecodeError
from stream.schema_registry.client import (
    NotRegisteredError,
    Registered,
    RegistryClient,
    RegistryUnavailableError,
)


@dataclass(frozen=True, slots=True)
class SchemaWait:
    """Why messages wait: for the registry, or for a schema that it does not know (yet)."""

    schema_id: int
    is_unknown: bool
    detail: str


log = structlog.get_logger()

AGAIN_S = 0.2
AGAIN_S_MAX = 5.0
RECHECK_S = 30.0
GIVEN_UP_MAX = 10_000


class SchemaCache:
    """A cache of one registry's schemas, which never forgets: an id never changes its meaning.

    ``changed`` is called when an id has become known, or was given up; ``waiting`` after each
    attempt that did not say. Both come from the event loop.
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
        """Return the schema of an id, None if it is not known.

        Raises:
            DecodeError: the registry has something under this id that we can not use.
        """
        found = self._known.get(schema_id)
        if isinstance(found, DecodeError):
            raise DecodeError(found.reason, found.detail)
        return found

    def missing(self, value: bytes | None) -> int | None:
        """Return the id that has to be known before a value can be judged, and let it be looked
        up; None when nothing is to be waited for.
        """
        schema_id = confluent_id(value)
        if schema_id is None or schema_id in self._known:
            return None
        given_up_at = self._given_up.get(schema_id)
        if given_up_at is None:
            self._want(schema_id)
            return schema_id
        if self._clock() - given_up_at > RECHECK_S:
            self._given_up[schema_id] = self._clock()
            self._want(schema_id)
        return None

    def learn(self, registered: Registered) -> None:
        """Take over a schema that the registry has told."""
        self._known[registered.id] = usable(registered)

    async def close(self) -> None:
        """Ask nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _want(self, schema_id: int) -> None:
        self._wanted.setdefault(schema_id, None)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._look_up())

    async def _look_up(self) -> None:
        """Ask for all that is wanted, one after the other, until nothing is."""
        wait_s = AGAIN_S
        while self._wanted:
            told = False
            for schema_id in list(self._wanted):
                try:
                    told |= await self._ask(schema_id)
                except RegistryUnavailableError as error:
                    detail = f"the schema registry is away: {error}"
                    self.waiting(SchemaWait(schema_id, False, detail))
                    break
            if told:
                wait_s = AGAIN_S
                self.changed()
            if self._wanted:
                await asyncio.sleep(wait_s)
                wait_s = min(AGAIN_S_MAX, wait_s * 2)

    async def _ask(self, schema_id: int) -> bool:
        """Ask for one schema; return whether its records have nothing to wait for any more."""
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

    def _give_up(self, schema_id: int, now: float) -> None:
        if schema_id not in self._given_up:
            log.error("schema_unknown", schema_id=schema_id)
        self._given_up[schema_id] = now
        if len(self._given_up) > GIVEN_UP_MAX:
            del self._given_up[next(iter(self._given_up))]


def usable(registered: Registered) -> Schema | DecodeError:
    """Return the schema, or why values of it can not be read."""
    if registered.kind != "AVRO":
        return DecodeError("unresolvable", f"schema {registered.id} is no Avro")
    try:
        return schema_from_text(registered.text)
    except DecodeError as error:
        return error
