"""The schema registry: does it answer, does it let us in, and do its schemas fit ours?"""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

from stream.doctor.network import Address, look_at
from stream.doctor.result import (
    CONFIGURATION,
    PERMISSION,
    UNAVAILABLE,
    Diagnosis,
    State,
    failed,
    fine,
)
from stream.errors import StartupError
from stream.schema_registry.client import (
    NotRegistered,
    RegistryClient,
    RegistryDenied,
    RegistryUnavailable,
    SchemaRefused,
)
from stream.schema_registry.opening import registry_client, subject_of
from stream.schema_registry.setup import check_readable, our_schema
from stream.settings import SchemaRegistrySettings

SCHEMA = "registry schema"
RULES = "change it by the rules of schemas/avro/README.md"
REGISTER = (
    "register schemas/avro/segment_event.avsc there, or set SCHEMA_REGISTRY__REGISTER_SCHEMA=true"
)


def look_at_registry(
    settings: SchemaRegistrySettings, topic: str, *, writes: bool
) -> Iterator[Diagnosis]:
    """Yield what is found; nothing where there is no registry. Nothing is registered.

    ``writes`` says that our own schema will be needed there, not only those of others.
    """
    if not settings.url:
        return
    parts = urlsplit(settings.url)
    tls = parts.scheme == "https"
    address = Address(parts.hostname or "", parts.port or (443 if tls else 80))
    reached = True
    for one in look_at("registry", address, tls=tls, properties={}):
        reached = reached and one.state is not State.FAIL
        yield one
    if reached:
        yield from asyncio.run(_ask(settings, subject_of(settings, topic), writes=writes))


async def _ask(settings: SchemaRegistrySettings, subject: str, *, writes: bool) -> list[Diagnosis]:
    async with registry_client(settings) as client:
        try:
            found = [await _readable(client, subject)]
            if writes:
                found.append(await _writable(client, subject, settings))
        except RegistryDenied as error:
            mend = "check SCHEMA_REGISTRY__USERNAME and SCHEMA_REGISTRY__PASSWORD"
            return [failed("registry login", str(error), mend, exit_code=PERMISSION)]
        except RegistryUnavailable as error:
            mend = "check SCHEMA_REGISTRY__URL: it has to be the address of Confluent's API"
            return [failed("registry login", str(error), mend, exit_code=UNAVAILABLE)]
    return [fine("registry login", "it answers us"), *found]


async def _readable(client: RegistryClient, subject: str) -> Diagnosis:
    """Say whether values of the latest version could be read."""
    try:
        numbers = await client.versions(subject)
        latest = await client.version(subject, numbers[-1]) if numbers else None
    except NotRegistered:
        latest = None
    if latest is None:
        return fine(SCHEMA, f"{subject} has no version yet")
    try:
        check_readable(latest, subject)
    except StartupError as error:
        return failed(SCHEMA, str(error), RULES, exit_code=CONFIGURATION)
    return fine(SCHEMA, f"{subject}: the latest of {len(numbers)} versions can be read")


async def _writable(
    client: RegistryClient, subject: str, settings: SchemaRegistrySettings
) -> Diagnosis:
    """Say whether our schema is there, or could be."""
    try:
        number = await client.look_up(subject, our_schema())
    except NotRegistered:
        pass
    else:
        return fine(SCHEMA, f"{subject}: ours is there, with the id {number}")
    if not settings.register_schema:
        text = f"{subject}: our schema is not there"
        return failed(SCHEMA, text, REGISTER, exit_code=CONFIGURATION)
    try:
        fits = await client.is_compatible(subject, our_schema())
    except NotRegistered:  # there is no version to be compatible with
        fits = True
    except SchemaRefused:
        fits = False
    if not fits:
        text = f"{subject}: our schema does not fit its latest version, by the subject's own rule"
        mend = "let SCHEMA_REGISTRY__SUBJECT name another subject, or relax its rule"
        return failed(SCHEMA, text, mend, exit_code=CONFIGURATION)
    return fine(SCHEMA, f"{subject}: ours is not there, and will be registered")
