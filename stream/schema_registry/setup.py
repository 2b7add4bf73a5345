"""What has to be right about schemas before anything is written or read."""

from typing import NoReturn

import orjson
import structlog

from stream.codec.avro import FOLDER, confluent_header, schema_from_text
from stream.codec.trial import try_to_read
from stream.errors import DecodeError, StartupError
from stream.schema_registry.cache import RegisteredSchemas
from stream.schema_registry.client import (
    NotRegistered,
    Registered,
    RegistryClient,
    RegistryUnavailable,
    SchemaRefused,
)

log = structlog.get_logger()

VERSIONS_MAX = 20
"""Of a subject's versions, these many newest are known from the start; others when they come."""


async def writer_header(client: RegistryClient, subject: str, *, register: bool) -> bytes:
    """Return what begins every value that we write: our schema's id, in Confluent's framing.

    Raises:
        StartupError: the schema is not registered and shall not be, does not fit what is
            registered, or the registry does not answer.
    """
    text = our_schema()
    try:
        if register:
            schema_id = await _register(client, subject, text)
        else:
            schema_id = await client.look_up(subject, text)
    except NotRegistered as error:
        raise StartupError(
            f"the schema registry does not have our schema as {subject}: register "
            "schemas/avro/segment_event.avsc, or set SCHEMA_REGISTRY__REGISTER_SCHEMA=true",
            exit_code=78,
        ) from error
    except SchemaRefused as error:
        _refuse(subject, str(error))
    except RegistryUnavailable as error:
        raise StartupError(f"the schema registry: {error}", exit_code=69) from error
    log.info("schema_of_ours", subject=subject, schema_id=schema_id)
    return confluent_header(schema_id)


def our_schema() -> str:
    """Return the schema of what we write, as a registry is told."""
    return orjson.dumps(orjson.loads((FOLDER / "segment_event.avsc").read_bytes())).decode()


async def _register(client: RegistryClient, subject: str, text: str) -> int:
    """Return the schema's id; what is registered already was found to be compatible then."""
    try:
        return await client.look_up(subject, text)
    except NotRegistered:
        log.info("schema_is_new", subject=subject)
    try:
        if not await client.is_compatible(subject, text):
            _refuse(subject, "it is not compatible with the latest version")
    except NotRegistered:
        pass  # there is no version to be compatible with
    return await client.register(subject, text)


def _refuse(subject: str, why: str) -> NoReturn:
    raise StartupError(
        f"the schema registry does not take our schema as {subject}: {why}", exit_code=78
    )


async def learn_subject(client: RegistryClient, schemas: RegisteredSchemas, subject: str) -> None:
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
                check_readable(registered, subject)
    except NotRegistered:
        log.info("subject_is_empty", subject=subject)
    except RegistryUnavailable as error:
        log.warning("registry_away", error=str(error))


def check_readable(registered: Registered, subject: str) -> None:
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
