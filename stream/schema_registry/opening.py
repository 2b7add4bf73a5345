"""The registry as the settings name it, if they do."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache

from stream.codec.avro import Schema
from stream.codec.decode import ById
from stream.codec.segment import SEGMENT_EVENT
from stream.errors import DecodeError, StartupError
from stream.schema_registry.cache import RegisteredSchemas, usable
from stream.schema_registry.client import NotRegistered, RegistryClient, RegistryUnavailable
from stream.schema_registry.setup import learn_subject, writer_header
from stream.settings import SchemaRegistrySettings
from stream.settings_loader import lasting, load_registry


def registry_client(settings: SchemaRegistrySettings) -> RegistryClient:
    """Return a client that is not entered yet."""
    return RegistryClient(
        settings.url,
        username=settings.username,
        password=lasting(lambda: _password(load_registry()), first=_password(settings)),
        timeout_s=settings.timeout_s,
    )


def _password(settings: SchemaRegistrySettings) -> str:
    return "" if settings.password is None else settings.password.get_secret_value()


@asynccontextmanager
async def registered_schemas(
    settings: SchemaRegistrySettings, topic: str
) -> AsyncIterator[RegisteredSchemas | None]:
    """Yield what readers of a topic need; None where there is no registry.

    Raises:
        StartupError: values of the latest schema could not be read.
    """
    if not settings.url:
        yield None
        return
    async with registry_client(settings) as client:
        schemas = RegisteredSchemas(client, unknown_wait_s=settings.unknown_wait_s)
        await learn_subject(client, schemas, subject_of(settings, topic))
        try:
            yield schemas
        finally:
            await schemas.close()


def asked_by_id(settings: SchemaRegistrySettings) -> ById | None:
    """Return what commands read values by: each id is asked for when it is met, and waited for.
    None where there is no registry.

    What is returned raises StartupError when the registry does not answer.
    """
    if not settings.url:
        return None
    pool = ThreadPoolExecutor(1)  # a command may have an event loop that is running

    async def ask(schema_id: int) -> Schema | DecodeError | None:
        async with registry_client(settings) as client:
            try:
                return usable(await client.schema(schema_id))
            except NotRegistered:
                return None

    @cache
    def found(schema_id: int) -> Schema | DecodeError | None:
        try:
            return pool.submit(asyncio.run, ask(schema_id)).result()
        except RegistryUnavailable as error:
            raise StartupError(f"the schema registry: {error}", exit_code=69) from error

    def by_id(schema_id: int) -> Schema | None:
        schema = found(schema_id)
        if isinstance(schema, DecodeError):
            raise DecodeError(schema.reason, schema.detail)
        return schema

    return by_id


async def header_for(settings: SchemaRegistrySettings, topic: str) -> bytes:
    """Return what begins every value that is written to a topic.

    Raises:
        StartupError: the registry has no id for our schema.
    """
    if not settings.url:
        return SEGMENT_EVENT.header
    async with registry_client(settings) as client:
        subject = subject_of(settings, topic)
        return await writer_header(client, subject, register=settings.register_schema)


def subject_of(settings: SchemaRegistrySettings, topic: str) -> str:
    """Return the subject under which the schema of a topic's values is registered."""
    return settings.subject or f"{topic}-value"
