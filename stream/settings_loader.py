"""Settings from the environment and from files of secrets, which are reloaded at runtime.

``WOOTRIC__PASSWORD_FILE`` is the path of a file with ``wootric.password``. Only the entry point
reads the environment.
"""

import difflib
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Generic, Self, TypeVar, get_args

import structlog
from pydantic import SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from stream.errors import InvalidSettingsError, StartupError
from stream.secret_files import SUFFIX, clean, file_names, with_files
from stream.settings import (
    SECTIONS,
    BridgeSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    SchemaRegistrySettings,
    StateSettings,
    TransformSettings,
    WootricSettings,
)


class _WithFiles(EnvSettingsSource):
    """The environment, with the contents of the files that it names."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        given, _ = with_files(os.environ, secret_names())
        known = {*names()} - ({"KAFKA__PROPERTIES"} if _no_json(given) else set())
        return {name.lower(): value for name, value in given.items() if name in known}


class _Environment(BaseSettings):
    """Settings read from the environment."""

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
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  replaced by _WithFiles
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read only the environment and its files."""
        return init_settings, _WithFiles(settings_cls)


class Settings(_Environment):
    """All settings of a worker."""

    kafka: KafkaSettings
    wootric: WootricSettings
    schema_registry: SchemaRegistrySettings = SchemaRegistrySettings()
    state: StateSettings = StateSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        if self.kafka.commit_interval_s * 4 > self.wootric.lease_s:
            raise ValueError(
                "WOOTRIC__LEASE_S must be at least four times KAFKA__COMMIT_INTERVAL_S, "
                "otherwise no request could be sent in time"
            )
        return self


def names() -> list[str]:
    """Return the environment names of all settings."""
    return [
        f"{section.upper()}__{field.upper()}"
        for section, model in SECTIONS.items()
        for field in model.model_fields
    ]


def secret_names() -> list[str]:
    """Return the names of the settings that may be in files: those that may contain secrets."""
    return [
        f"{section.upper()}__{name.upper()}"
        for section, model in SECTIONS.items()
        for name, field in model.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation)) or name == "properties"
    ]


def variables() -> list[str]:
    """Return all names that are read from the environment."""
    return [*names(), *file_names(secret_names())]


def in_files() -> bool:
    """Return whether any secret is in a file and so may change at runtime."""
    files = set(file_names(secret_names()))
    return any(name.upper() in files for name in os.environ)


def fingerprint(settings: Settings) -> str:
    """Return a hash of all settings that should be equal in a group, without secrets."""
    values = settings.model_dump(mode="json")
    del values["kafka"]["instance_id"], values["state"]
    values["kafka"]["properties"] = sorted(values["kafka"]["properties"])
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


class KafkaOnly(_Environment):
    """Settings of commands that use only Kafka."""

    kafka: KafkaSettings


class WootricOnly(_Environment):
    """Settings of commands that use only Wootric."""

    wootric: WootricSettings


class ExporterSettings(_Environment):
    """Settings of the lag exporter."""

    kafka: KafkaSettings
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()


class HttpOnly(_Environment):
    """Settings of the HTTP server."""

    http: HttpSettings = HttpSettings()


class RegistryOnly(_Environment):
    """Settings of the schema registry."""

    schema_registry: SchemaRegistrySettings = SchemaRegistrySettings()


class BridgeOnly(_Environment):
    """Settings of the bridge."""

    kafka: KafkaSettings
    schema_registry: SchemaRegistrySettings = SchemaRegistrySettings()
    bridge: BridgeSettings = BridgeSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()


class WebhookOnly(BridgeOnly):
    """Settings of the bridge's webhook."""

    @model_validator(mode="after")
    def _has_a_secret(self) -> Self:
        shared_secrets(self.bridge)
        return self


class TransformOnly(_Environment):
    """Settings of the ``transform`` command."""

    wootric: TransformSettings = TransformSettings()


def load() -> Settings:
    """Return the settings of this environment.

    Raises:
        StartupError: settings are missing, unknown or out of bounds; the message lists all of
            them and quotes no value.
    """
    return _load(Settings)


def load_kafka() -> KafkaSettings:
    """Return Kafka's settings. Raises like ``load``."""
    return _load(KafkaOnly).kafka


def load_wootric() -> WootricSettings:
    """Return Wootric's settings. Raises like ``load``."""
    return _load(WootricOnly).wootric


def load_exporter() -> ExporterSettings:
    """Return Kafka's settings and those of telemetry. Raises like ``load``."""
    return _load(ExporterSettings)


def load_registry() -> SchemaRegistrySettings:
    """Return the schema registry's settings. Raises like ``load``."""
    return _load(RegistryOnly).schema_registry


def load_bridge() -> BridgeOnly:
    """Return the bridge's settings. Raises like ``load``."""
    return _load(BridgeOnly)


def load_webhook() -> BridgeOnly:
    """Return the bridge's settings, with a shared secret. Raises like ``load``."""
    return _load(WebhookOnly)


def load_transform() -> TransformSettings:
    """Return the transform's settings. Raises like ``load``."""
    return _load(TransformOnly).wootric


S = TypeVar("S", bound=BaseSettings)


def _load(model: type[S]) -> S:
    given, problems = with_files(os.environ, secret_names())
    misspelt = _misspelt(os.environ)
    problems += [
        f"{name} is not a setting" + (f"; did you mean {meant}?" if meant else "")
        for name, meant in misspelt.items()
    ]
    problems += _no_json(given)
    settings, wrong = _validated(model, [name for name in misspelt.values() if name])
    problems += [_problem(one, given) for one in wrong]
    if settings is None or problems:
        raise InvalidSettingsError(problems)
    return settings


def _misspelt(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Return the unknown names that have one of the prefixes, with the known name that is close."""
    known = variables()
    prefixes = tuple(f"{section.upper()}__" for section in SECTIONS)
    return {
        name: next(iter(difflib.get_close_matches(name.upper(), known, n=1)), None)
        for name in environment
        if clean(name).upper().startswith(prefixes) and name.upper() not in known
    }


def _validated(model: type[S], meant: Collection[str]) -> tuple[S | None, list[ErrorDetails]]:
    """Return the settings and all errors.

    Rules between settings apply only once each setting is valid. So those that are wrong, and
    those whose names are misspelt, get an example, until no further rule is broken.
    """
    examples: dict[str, Any] = {}
    found: list[ErrorDetails] = []
    for name in meant:
        section, _, field = name.removesuffix(SUFFIX).lower().partition("__")
        if section in model.model_fields:
            _replace(examples, (section, field))
    while True:
        try:
            settings = model(**examples)
        except ValidationError as error:
            located = {one["loc"] for one in found}
            new = [one for one in _by_field(error) if one["loc"] not in located]
        else:
            return settings, found
        if not new:
            return None, found
        found += new
        for one in new:
            _replace(examples, one["loc"])


def _replace(examples: dict[str, Any], location: tuple[int | str, ...]) -> None:
    """Add the example of a setting, or those of a section, whose rule is then kept."""
    match location:
        case (str(section),):
            fields = SECTIONS[section].model_fields.items()
            names = [name for name, field in fields if field.examples]
        case (str(section), str(name), *_):
            names = [name]
        case _:
            return
    known = SECTIONS[section].model_fields
    examples.setdefault(section, {}).update((name, _example(known[name])) for name in names)


def _by_field(error: ValidationError) -> Iterator[ErrorDetails]:
    """Yield the errors; that of a missing section becomes one for each of its required fields."""
    for one in error.errors():
        match one:
            case {"type": "missing", "loc": (str(section),)}:
                for name, field in SECTIONS[section].model_fields.items():
                    if field.is_required():
                        yield {**one, "loc": (section, name)}
            case _:
                yield one


def _example(field: FieldInfo) -> Any:
    """Return a valid value of a setting."""
    return field.examples[0] if field.examples else field.get_default(call_default_factory=True)


def _problem(item: ErrorDetails, environment: Mapping[str, str]) -> str:
    """Return the error of a setting, the shape of its value and its description."""
    where = "__".join(str(part).upper() for part in item["loc"][:2])
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if len(item["loc"]) < 2:
        return message
    section, name = map(str, item["loc"][:2])
    field = SECTIONS[section].model_fields.get(name)
    meaning = f" {field.description}" if field is not None and field.description else ""
    if item["type"] == "missing":
        return f"{where} is not set.{meaning}"
    return f"{where}: {message}; {_shape(environment.get(where, ''))}.{meaning}"


def _shape(value: str) -> str:
    """Return the kind and the length of a value, without the value."""
    kind = "a number" if value.replace(".", "", 1).lstrip("-").isdecimal() else "text"
    return f"the value is {kind} of {len(value)} characters" if value else "the value is empty"


def _no_json(given: Mapping[str, str]) -> list[str]:
    """Return where KAFKA__PROPERTIES is not valid JSON, without quoting it."""
    value = given.get("KAFKA__PROPERTIES")
    try:
        json.loads(value or "{}")
    except ValueError as error:
        at, length = getattr(error, "pos", 0) + 1, len(value or "")
        text = (
            f"KAFKA__PROPERTIES is not valid JSON: error at character {at} of {length}. Set an "
            'object such as {"security.protocol":"SASL_SSL"}, quoted once for the shell'
        )
        return [text]
    return []


# Values that are reloaded at runtime: secrets in files


log = structlog.get_logger()

T = TypeVar("T")

EVERY_S = 1.0


class SettingsReloader(Generic[T]):
    """Returns the current value, read at most every ``every_s`` seconds, from any thread.

    If it cannot be read, the last value stays in effect: a file that is being replaced, or a
    secret that was deleted too early, must not stop a working service.
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
        """Return the current value."""
        now = self._clock()
        if now - self._read_at >= self._every_s:
            self._read_at = now
            try:
                self._value = self._read()
            except StartupError as error:  # its message has names of settings, no values
                log.warning("secrets_not_read", detail=str(error))
        return self._value


def lasting(read: Callable[[], T], *, first: T, every_s: float = EVERY_S) -> Callable[[], T]:
    """Return a function that returns a current value of the settings: reloaded if secrets are in
    files, otherwise always ``first``.
    """
    return SettingsReloader(read, first=first, every_s=every_s) if in_files() else lambda: first


def bearer_token(http: HttpSettings) -> Callable[[], SecretStr | None]:
    """Return a function that returns the current token of the HTTP server."""
    return lasting(lambda: _load(HttpOnly).http.bearer_token, first=http.bearer_token)


def shared_secrets(bridge: BridgeSettings) -> list[bytes]:
    """Return the accepted secrets.

    Raises:
        ValueError: none is set.
    """
    if bridge.shared_secret is None:
        text = "BRIDGE__SHARED_SECRET is not set: the secret with which Segment's webhook signs."
        raise ValueError(text)
    given = (bridge.shared_secret, bridge.previous_secret)
    return [secret.get_secret_value().encode() for secret in given if secret is not None]
