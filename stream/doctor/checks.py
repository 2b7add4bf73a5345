"""Checks of the schema registry, the state directory and Wootric."""

import asyncio
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

from yarl import URL

from sink.classify import Classification, Executed, Forbidden, Throttled, Unauthorized
from sink.http_session import HttpSession
from sink.wootric.auth import (
    AccessToken,
    AccountCheck,
    TokenDenied,
    TokenUnavailable,
    WootricAccount,
    check_account,
)
from stream.doctor.network import check_url
from stream.doctor.result import (
    CONFIGURATION,
    PERMISSION,
    UNAVAILABLE,
    CheckResult,
    CheckStatus,
    failed,
    ok,
    warning,
)
from stream.errors import StartupError
from stream.schema_registry.client import (
    NotRegisteredError,
    RegistryClient,
    RegistryDeniedError,
    RegistryUnavailableError,
    SchemaRejectedError,
)
from stream.schema_registry.setup import (
    check_compatibility,
    own_schema_text,
    registry_client,
    subject_of,
)
from stream.settings import SchemaRegistrySettings

SKEW_S_MAX = 5.0


def check_wootric(account: WootricAccount) -> Iterator[CheckResult]:
    """Yield the results for token, look-up and clock."""
    found = asyncio.run(_ask_wootric(account))
    match found.grant:
        case AccessToken():
            yield ok("wootric token", "granted")
        case TokenDenied(status):
            text = f"refused, status {status}"
            names = "WOOTRIC__CLIENT_ID and WOOTRIC__CLIENT_SECRET"
            if not account.client_id:
                names = "WOOTRIC__USERNAME, WOOTRIC__PASSWORD and WOOTRIC__ACCOUNT_TOKEN"
            fix = f"check {names}, and that WOOTRIC__API_URL is the account's region"
            yield failed("wootric token", text, fix, exit_code=PERMISSION)
        case TokenUnavailable(detail, _):
            fix = "retry later; check WOOTRIC__API_URL"
            yield failed("wootric token", f"unavailable: {detail}", fix, exit_code=UNAVAILABLE)
        case _:
            assert_never(found.grant)
    if found.verdict is not None:
        yield _look_up(found.verdict)
    if found.skew_s is not None:
        yield _clock(found.skew_s)


async def _ask_wootric(account: WootricAccount) -> AccountCheck:
    timeout_s = account.request_timeout_s
    async with HttpSession(in_flight_max=1, request_timeout_s=timeout_s) as session:
        return await check_account(account, session)


def _look_up(verdict: Classification) -> CheckResult:
    check = "wootric look-up"
    match verdict:
        case Executed():
            return ok(check, "answered")
        case Throttled(status, _):
            fix = "set WOOTRIC__REQUESTS_PER_MINUTE below the account's limit"
            return warning(check, f"throttled, status {status}", fix)
        case Forbidden(status) | Unauthorized(status):
            fix = "ask Wootric whether this client may use the API for end users"
            return failed(check, f"forbidden, status {status}", fix, exit_code=PERMISSION)
        case _:
            text = f"{verdict.label}, status {verdict.status or 'none'}"
            fix = "retry later; check WOOTRIC__API_URL"
            return failed(check, text, fix, exit_code=UNAVAILABLE)


def _clock(skew_s: float) -> CheckResult:
    side = "ahead of" if skew_s > 0 else "behind"
    text = f"Wootric's clock is {abs(skew_s):.0f} s {side} this machine's"
    if abs(skew_s) > SKEW_S_MAX:
        fix = "synchronize this machine's clock by NTP: lag in seconds and waits depend on it"
        return warning("clock", text, fix)
    return ok("clock", f"within {SKEW_S_MAX:.0f} s of Wootric's")


# Schema registry: connection, login, compatibility of its schemas


SCHEMA = "registry schema"
RULES = "change it as schemas/avro/README.md requires"
REGISTER = (
    "register schemas/avro/segment_event.avsc there, or set SCHEMA_REGISTRY__REGISTER_SCHEMA=true"
)


def check_registry(
    settings: SchemaRegistrySettings, topic: str, *, writes: bool
) -> Iterator[CheckResult]:
    """Yield the results; none if no registry is configured. Registers nothing.

    With ``writes`` the service's own schema must be registered, or be allowed to be.
    """
    if not settings.url:
        return
    reached = True
    for one in check_url("registry", URL(settings.url)):
        reached = reached and one.state is not CheckStatus.FAIL
        yield one
    if reached:
        yield from asyncio.run(_ask_registry(settings, subject_of(settings, topic), writes=writes))


async def _ask_registry(
    settings: SchemaRegistrySettings, subject: str, *, writes: bool
) -> list[CheckResult]:
    async with registry_client(settings) as client:
        try:
            found = [await _readable(client, subject)]
            if writes:
                found.append(await _writable(client, subject, settings))
        except RegistryDeniedError as error:
            fix = "check SCHEMA_REGISTRY__USERNAME and SCHEMA_REGISTRY__PASSWORD"
            return [failed("registry login", str(error), fix, exit_code=PERMISSION)]
        except RegistryUnavailableError as error:
            fix = "check SCHEMA_REGISTRY__URL: it must be the address of Confluent's API"
            return [failed("registry login", str(error), fix, exit_code=UNAVAILABLE)]
    return [ok("registry login", "granted"), *found]


async def _readable(client: RegistryClient, subject: str) -> CheckResult:
    """Check that values of the latest version can be read."""
    try:
        numbers = await client.versions(subject)
        latest = await client.version(subject, numbers[-1]) if numbers else None
    except NotRegisteredError:
        latest = None
    if latest is None:
        return ok(SCHEMA, f"{subject} has no version yet")
    try:
        check_compatibility(latest, subject)
    except StartupError as error:
        return failed(SCHEMA, str(error), RULES, exit_code=CONFIGURATION)
    return ok(SCHEMA, f"{subject}: the latest of {len(numbers)} versions can be read")


async def _writable(
    client: RegistryClient, subject: str, settings: SchemaRegistrySettings
) -> CheckResult:
    """Check that the service's own schema is registered, or can be."""
    try:
        number = await client.look_up(subject, own_schema_text())
    except NotRegisteredError:
        pass
    else:
        return ok(SCHEMA, f"{subject}: the service's schema is registered with id {number}")
    if not settings.register_schema:
        text = f"{subject}: the service's schema is not registered"
        return failed(SCHEMA, text, REGISTER, exit_code=CONFIGURATION)
    try:
        fits = await client.is_compatible(subject, own_schema_text())
    except NotRegisteredError:  # the subject has no version
        fits = True
    except SchemaRejectedError:
        fits = False
    if not fits:
        text = f"{subject}: the service's schema violates the subject's compatibility rule"
        fix = "set SCHEMA_REGISTRY__SUBJECT to another subject, or relax the rule"
        return failed(SCHEMA, text, fix, exit_code=CONFIGURATION)
    return ok(SCHEMA, f"{subject}: the service will register its schema")


# STATE__DIR, used as a store does


FREE_BYTES_MIN = 1024**3
GB = 1e9


def check_state(directory: str) -> Iterator[CheckResult]:
    """Yield the result for ``STATE__DIR``: writes, locks, free space. None if it is not set.

    An unusable directory is a warning: workers hold state in memory instead.
    """
    if not directory:
        return
    path = Path(directory)
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"\0" * 4096)
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = shutil.disk_usage(path).free
    except OSError as error:
        text = f"STATE__DIR is unusable: {error.strerror}; state is held in memory"
        yield warning("state", text, "allow the service's user to write and lock files in it")
        return
    text = f"STATE__DIR is writable and lockable, {free / GB:.1f} GB are free"
    if free < FREE_BYTES_MIN:
        yield warning("state", text, "free or add space: 1 GB holds about 10 million entries")
    else:
        yield ok("state", text)
