"""What has to be right about schemas before anything is written or read."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from typing import NoReturn

import orjson
import structlog

from stream.codec.avro import FOLDER, Schema, confluent_header, schema_from_text
from stream.codec.decode import ById, try_to_read
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
"""Of a subject's versions, these many newest are known from the start; others when they come."""


async def writer_header(client: RegistryClient, subject: str, *, register: bool) -> bytes:
    """Return what begins every value that we write: our schema's id, in Confluent's framing.

    Raises:
        StartupError: the schema is not registered and shall not be, does not fit what is
            registered, or the registry does not answer.
    """
    text = register_own_schema()
    try:
        if register:
            schema_id = await _register(client, subject, text)
        else:
            schema_id = await client.look_up(subject, text)
    except NotRegisteredError as error:
        raise StartupError(
            f"the schema registry does not have our schema as {subject}: register "
            "schemas/avro/segment_event.avsc, or set SCHEMA_REGISTRY__REGISTER_SCHEMA=true",
            exit_code=78,
        ) from error
    except SchemaRejectedError as error:
        _refuse(subject, str(error))
    except RegistryUnavailableError as error:
        raise StartupError(f"the schema registry: {error}", exit_code=69) from error
    log.info("schema_id", subject=subject, schema_id=schema_id)
    return confluent_header(schema_id)


def register_own_schema() -> str:
    """Return the schema of what we write, as a registry is told."""
    return orjson.dumps(orjson.loads((FOLDER / "segment_event.avsc").read_bytes())).decode()


async def _register(client: RegistryClient, subject: str, text: str) -> int:
    """Return the schema's id; what is registered already was found to be compatible then."""
    try:
        return await client.look_up(subject, text)
    except NotRegisteredError:
        log.info("schema_not_registered", subject=subject)
    try:
        if not await client.is_compatible(subject, text):
            _refuse(subject, "it is not compatible with the latest version")
    except NotRegisteredError:
        pass  # there is no version to be compatible with
    return await client.register(subject, text)


def _refuse(subject: str, why: str) -> NoReturn:
    raise StartupError(
        f"the schema registry does not take our schema as {subject}: {why}", exit_code=78
    )


async def learn_subject(client: RegistryClient, schemas: SchemaCache, subject: str) -> None:
    """Let the versions of the input's subject be known, so that no record waits for them.

    Without an answer the records wait for the registry, and the others flow.

    Raises:
        StartupError: values of the latest version could not be read.
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
    """Raises StartupError where values of this version could not be read."""
    try:
        if registered.kind != "AVRO":
            raise DecodeError("unresolvable", "it is no Avro schema")
        try_to_read(schema_from_text(registered.text))
    except DecodeError as error:
        raise StartupError(
            f"values of {subject}, latest version, cannot be read: {error.detail}; change it by "
            "the rules of schemas/avro/README.md",
            exit_code=78,
        ) from error


# The registry as the settings name it, if they do


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
) -> AsyncIterator[SchemaCache | None]:
    """Yield what readers of a topic need; None where there is no registry.

    Raises:
        StartupError: values of the latest schema could not be read.
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
