"""Settings from the environment; a secret's ``WOOTRIC__PASSWORD_FILE`` names the file that holds
``wootric.password``, and is read again while the service runs.

Only the entry point reads the environment.
"""

import difflib
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, get_args

import structlog
from pydantic import SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from stream.errors import StartupError
from stream.settings import (
    SECTIONS,
    BridgeSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    SchemaRegistrySettings,
    StateSettings,
    TracingSettings,
    TransformSettings,
    WootricSettings,
)


class _WithFiles(EnvSettingsSource):
    """The environment, and what lies in the files that it names."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        given, _ = with_files(os.environ, secret_names())
        return {name.lower(): value for name, value in given.items()}


class _Environment(BaseSettings):
    """What is read from the environment."""

    model_config = SettingsConfigDict(
        env_nested_delimiter="__",
        env_nested_max_split=1,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  ours takes its place
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment with our files, and nothing else."""
        return init_settings, _WithFiles(settings_cls)


class Settings(_Environment):
    """All of it."""

    kafka: KafkaSettings
    wootric: WootricSettings
    schema_registry: SchemaRegistrySettings = SchemaRegistrySettings()
    state: StateSettings = StateSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        if self.kafka.commit_interval_s * 4 > self.wootric.lease_s:
            raise ValueError(
                "WOOTRIC__LEASE_S must be at least four times KAFKA__COMMIT_INTERVAL_S, "
                "or no request could be sent in time"
            )
        return self


def names() -> list[str]:
    """Return the names of all settings, as the environment has them."""
    return [
        f"{section.upper()}__{field.upper()}"
        for section, model in SECTIONS.items()
        for field in model.model_fields
    ]


def secret_names() -> list[str]:
    """Return the names of the settings that may be in files: secrets, and what may hold some."""
    return [
        f"{section.upper()}__{name.upper()}"
        for section, model in SECTIONS.items()
        for name, field in model.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation)) or name == "properties"
    ]


def variables() -> list[str]:
    """Return all names that are looked for in the environment."""
    return [*names(), *file_names(secret_names())]


def in_files() -> bool:
    """Return whether any secret is in a file, so that it may change while we run."""
    files = set(file_names(secret_names()))
    return any(name.upper() in files for name in os.environ)


def fingerprint(settings: Settings) -> str:
    """Return a hash of all that workers of a group should agree on; no secret is in it."""
    values = settings.model_dump(mode="json")
    del values["kafka"]["instance_id"], values["state"]
    values["kafka"]["properties"] = sorted(values["kafka"]["properties"])
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


class KafkaOnly(_Environment):
    """What commands need that touch nothing but Kafka."""

    kafka: KafkaSettings


class ExporterSettings(_Environment):
    """What watching the group from outside needs."""

    kafka: KafkaSettings
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()


class RegistryOnly(_Environment):
    """What reading and writing by schema ids needs."""

    schema_registry: SchemaRegistrySettings = SchemaRegistrySettings()


class BridgeOnly(_Environment):
    """What the bridge needs."""

    kafka: KafkaSettings
    schema_registry: SchemaRegistrySettings = SchemaRegistrySettings()
    bridge: BridgeSettings = BridgeSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()


class TransformOnly(_Environment):
    """What the transform's preview needs."""

    wootric: TransformSettings = TransformSettings()


def load() -> Settings:
    """Return the settings of this environment.

    Raises:
        StartupError: something is missing, unknown or out of bounds; the message names all
            of it and quotes no value.
    """
    return _load(Settings)


def load_kafka() -> KafkaSettings:
    """Return Kafka's settings alone. Raises like ``load``."""
    return _load(KafkaOnly).kafka


def load_exporter() -> ExporterSettings:
    """Return Kafka's settings and those of telemetry. Raises like ``load``."""
    return _load(ExporterSettings)


def load_registry() -> SchemaRegistrySettings:
    """Return the schema registry's settings alone. Raises like ``load``."""
    return _load(RegistryOnly).schema_registry


def load_bridge() -> BridgeOnly:
    """Return what the bridge needs. Raises like ``load``."""
    return _load(BridgeOnly)


def load_transform() -> TransformSettings:
    """Return the transform's settings alone. Raises like ``load``."""
    return _load(TransformOnly).wootric


S = TypeVar("S", bound=BaseSettings)


def _load(model: type[S]) -> S:
    given, problems = with_files(os.environ, secret_names())
    problems += _unknown(os.environ)
    settings: S | None = None
    try:
        settings = model()
    except ValidationError as error:
        problems += [_problem(item, given) for item in error.errors()]
    except SettingsError as error:
        problems += _no_json(given) or [str(error)]
    if settings is None or problems:
        raise StartupError("the settings are not right:\n  " + "\n  ".join(problems), exit_code=78)
    return settings


def _unknown(environment: Mapping[str, str]) -> list[str]:
    known = variables()
    prefixes = tuple(f"{section.upper()}__" for section in SECTIONS)
    problems = []
    for name in environment:
        if name.upper().startswith(prefixes) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            problems.append(f"{name} is not a setting{hint}")
    return problems


def _problem(item: Any, environment: Mapping[str, str]) -> str:
    """Return what is wrong with a setting, its meaning and the shape of what was given."""
    where = "__".join(str(part).upper() for part in item["loc"][:2])
    message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if len(item["loc"]) < 2:
        if item["type"] != "missing":
            return message
        return "\n  ".join(
            f"{where}__{name.upper()} is not set. {field.description}"
            for name, field in SECTIONS[item["loc"][0]].model_fields.items()
            if field.is_required()
        )
    field = SECTIONS[item["loc"][0]].model_fields.get(item["loc"][1])
    meaning = f" {field.description}" if field is not None and field.description else ""
    if item["type"] == "missing":
        return f"{where} is not set.{meaning}"
    return f"{where}: {message}; {_shape(environment.get(where, ''))}.{meaning}"


def _shape(value: str) -> str:
    """Return what a value looks like without telling it."""
    kind = "a number" if value.replace(".", "", 1).lstrip("-").isdecimal() else "text"
    return f"what is set is {kind} of {len(value)} characters" if value else "it is set to nothing"


def _no_json(environment: Mapping[str, str]) -> list[str]:
    """Return where the one setting that is JSON breaks off, quoting nothing of it."""
    value = next((v for n, v in environment.items() if n.upper() == "KAFKA__PROPERTIES"), "")
    try:
        json.loads(value)
    except ValueError as error:
        at = getattr(error, "pos", 0) + 1
        example = '{"security.protocol":"SASL_SSL"}'
        text = (
            f"KAFKA__PROPERTIES is no JSON: it breaks off at character {at} of {len(value)}. It is "
            f"an object such as {example}, quoted once for the shell"
        )
        return [text]
    return []


# Values that are read again while the service runs: secrets in files that change


log = structlog.get_logger()

T = TypeVar("T")

EVERY_S = 1.0


class SettingsReloader(Generic[T]):
    """Gives a value as it is now; read at most every ``every_s`` seconds, from any thread.

    While it cannot be read, the last one counts: a file that is just being replaced, or a
    secret that was deleted too early, must not end what works.
    """

    def __init__(
        self,
        read: Callable[[], T],
        *,
        first: T,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._value = first
        self._every_s = every_s
        self._clock = clock
        self._read_at = clock()

    def __call__(self) -> T:
        """Return the value."""
        now = self._clock()
        if now - self._read_at >= self._every_s:
            self._read_at = now
            try:
                self._value = self._read()
            except StartupError as error:  # it names settings and shapes, no values
                log.warning("secrets_not_read", detail=str(error))
        return self._value


def lasting(read: Callable[[], T], *, first: T, every_s: float = EVERY_S) -> Callable[[], T]:
    """Return what gives a value of the settings as it is now: read again where secrets are in
    files, which may change, else always the first.
    """
    return SettingsReloader(read, first=first, every_s=every_s) if in_files() else lambda: first


# Secrets in files: ``NAME_FILE`` is the path of a file that holds what ``NAME`` would


SUFFIX = "_FILE"


def file_names(secrets: Collection[str]) -> list[str]:
    """Return the names that take the path of a secret's file."""
    return [f"{name}{SUFFIX}" for name in secrets]


def with_files(
    environment: Mapping[str, str], secrets: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the environment with the files' contents under the secrets' own names, and what is
    wrong with the files. A line's end behind a secret is not part of it.
    """
    found = {name.upper(): value for name, value in environment.items()}
    problems = []
    for secret, name in zip(secrets, file_names(secrets), strict=True):
        path = found.pop(name, "")
        if not path:
            continue
        if found.get(secret):
            problems.append(f"{secret} and {name} are both set: leave one out")
            continue
        try:
            found[secret] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            text = f"what is set is {len(path)} characters, and has to be the path of a file"
            problems.append(f"{name} cannot be read: {why}; {text} with {secret}")
    return found, problems


def shared_secrets(bridge: BridgeSettings) -> list[bytes]:
    """Return the secrets that count.

    Raises:
        StartupError: there is none.
    """
    if bridge.shared_secret is None:
        text = (
            "BRIDGE__SHARED_SECRET is not set. It is the secret that Segment's webhook signs with."
        )
        raise StartupError(f"the settings are not right:\n  {text}", exit_code=78)
    given = (bridge.shared_secret, bridge.previous_secret)
    return [secret.get_secret_value().encode() for secret in given if secret is not None]
