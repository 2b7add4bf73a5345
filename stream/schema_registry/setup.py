"""Startup of schemas: registration, compatibility checks and fetchers for readers."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from typing import NoReturn

import orjson
import structlog

from stream.codec.avro import FOLDER, Schema, confluent_header
from stream.codec.decode import ById, check_readable
from stream.codec.event import SEGMENT_EVENT
from stream.errors import DecodeError, StartupError
from stream.schema_registry.cache import SchemaCache, usable
from stream.schema_registry.client import (
    NotRegisteredError,
    Registered,
    RegistryClient,
    RegistryUnavailableError,
    SchemaRejectedError,
)
from stream.settings import SchemaRegistrySettings
from stream.settings_loader import lasting, load_registry

log = structlog.get_logger()

VERSIONS_MAX = 20
"""The newest versions of a subject that are fetched at startup; others are fetched on demand."""


async def writer_header(client: RegistryClient, subject: str, *, register: bool) -> bytes:
    """Return the header of every value that we write: our schema's id, in Confluent's framing.

    Raises:
        StartupError: the schema is not registered and ``register`` is False, it is incompatible
            with the registered versions, or the registry does not reply.
    """
    text = own_schema_text()
    try:
        if register:
            schema_id = await _register(client, subject, text)
        else:
            schema_id = await client.look_up(subject, text)
    except NotRegisteredError as error:
        raise StartupError(
            f"the service's schema is not registered as {subject}: register "
            "schemas/avro/segment_event.avsc, or set SCHEMA_REGISTRY__REGISTER_SCHEMA=true",
            exit_code=78,
        ) from error
    except SchemaRejectedError as error:
        _refuse(subject, str(error))
    except RegistryUnavailableError as error:
        raise StartupError(f"the schema registry: {error}", exit_code=69) from error
    log.info("schema_id", subject=subject, schema_id=schema_id)
    return confluent_header(schema_id)


def own_schema_text() -> str:
    """Return the text of our schema for a registry."""
    return orjson.dumps(orjson.loads((FOLDER / "segment_event.avsc").read_bytes())).decode()


async def _register(client: RegistryClient, subject: str, text: str) -> int:
    """Return the schema's id. One that is already registered is not checked again."""
    try:
        return await client.look_up(subject, text)
    except NotRegisteredError:
        log.info("schema_not_registered", subject=subject)
    try:
        if not await client.is_compatible(subject, text):
            _refuse(subject, "it is not compatible with the latest version")
    except NotRegisteredError:
        pass  # there is no earlier version
    return await client.register(subject, text)


def _refuse(subject: str, why: str) -> NoReturn:
    raise StartupError(
        f"the schema registry rejects the service's schema as {subject}: {why}", exit_code=78
    )


async def learn_subject(client: RegistryClient, schemas: SchemaCache, subject: str) -> None:
    """Fetch the versions of the input's subject, so that no record waits for them.

    If the registry does not reply, records in its framing wait, and the others are processed.

    Raises:
        StartupError: no value of the latest version could be decoded.
    """
    try:
        numbers = await client.versions(subject)
        for number in numbers[-VERSIONS_MAX:]:
            registered = await client.version(subject, number)
            schemas.learn(registered)
            if number == numbers[-1]:
                check_compatibility(registered, subject)
    except NotRegisteredError:
        log.info("subject_is_empty", subject=subject)
    except RegistryUnavailableError as error:
        log.warning("registry_unavailable", error=str(error))


def check_compatibility(registered: Registered, subject: str) -> None:
    """Raise StartupError if no value of this version could be decoded."""
    try:
        schema = usable(registered)
        if isinstance(schema, DecodeError):
            raise schema
        check_readable(schema)
    except DecodeError as error:
        raise StartupError(
            f"values of {subject}, latest version, cannot be read: {error.detail}; change it by "
            "the rules of schemas/avro/README.md",
            exit_code=78,
        ) from error


# The registry of the settings


def registry_client(settings: SchemaRegistrySettings) -> RegistryClient:
    """Return a client; the caller enters it."""
    return RegistryClient(
        settings.url,
        username=settings.username,
        password=lasting(lambda: _password(load_registry()), first=_password(settings)),
    )


def _password(settings: SchemaRegistrySettings) -> str:
    return "" if settings.password is None else settings.password.get_secret_value()


@asynccontextmanager
async def registered_schemas(
    settings: SchemaRegistrySettings, topic: str
) -> AsyncIterator[SchemaCache | None]:
    """Yield the schema cache for readers of a topic; None without a registry.

    Raises:
        StartupError: no value of the latest version could be decoded.
    """
    if not settings.url:
        yield None
        return
    async with registry_client(settings) as client:
        schemas = SchemaCache(client, unknown_id_timeout_s=settings.unknown_id_timeout_s)
        await learn_subject(client, schemas, subject_of(settings, topic))
        try:
            yield schemas
        finally:
            await schemas.close()


def schema_fetcher(settings: SchemaRegistrySettings) -> ById | None:
    """Return a function for commands that fetches the schema of an id, blocking and cached; None
    without a registry.

    The function raises StartupError if the registry does not reply.
    """
    if not settings.url:
        return None
    pool = ThreadPoolExecutor(1)  # the command may have a running event loop

    async def ask(schema_id: int) -> Schema | DecodeError | None:
        async with registry_client(settings) as client:
            try:
                return usable(await client.schema(schema_id))
            except NotRegisteredError:
                return None

    @cache
    def found(schema_id: int) -> Schema | DecodeError | None:
        try:
            return pool.submit(asyncio.run, ask(schema_id)).result()
        except RegistryUnavailableError as error:
            raise StartupError(f"the schema registry: {error}", exit_code=69) from error

    def by_id(schema_id: int) -> Schema | None:
        schema = found(schema_id)
        if isinstance(schema, DecodeError):
            raise DecodeError(schema.reason, schema.detail)
        return schema

    return by_id


async def header_for(settings: SchemaRegistrySettings, topic: str) -> bytes:
    """Return the header of every value written to a topic.

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
