"""All settings, by section: ``KAFKA__GROUP_ID`` sets ``kafka.group_id``.

Each has its default, bounds and description; a component receives its section.
``stream.settings_loader`` reads them.
"""

import re
import socket
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from stream.bridge.signature import Batches
from stream.secret_files import clean

DAY_S = 86_400
SECRET_LENGTH_MIN = 16
"""A shorter one could be found by trying, from one signed request."""
PIXEL_URL = "https://d8myem934l1zi.cloudfront.net/pixel.gif"
_SECRET_PROPERTY = re.compile(r".*(?:password|username|secret|client\.id)")
_MSK_REGION = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com")
_ACCOUNT_TOKEN = re.compile(r"NPS-(?:(?:EU|AU)-)?[0-9A-Za-z]+")
"""Source: Wootric's SDKs, which take the region from this form."""


class Section(BaseModel):
    """A component's settings: frozen, unknown names are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class InDoubtPages(StrEnum):
    """Treatment of a page view that may or may not have arrived."""

    PARK = "park"
    RESEND = "resend"


class KafkaAuth(StrEnum):
    """How Kafka's clients log in."""

    PROPERTIES = "properties"
    AWS_MSK_IAM = "aws_msk_iam"


class PageViews(StrEnum):
    """Treatment of page calls."""

    PIXEL = "pixel"
    OFF = "off"


class LogFormat(StrEnum):
    """Format of log lines."""

    JSON = "json"
    CONSOLE = "console"


class KafkaSettings(Section):
    """Topics, consumer group and limits of the worker."""

    bootstrap_servers: str = Field(
        description="Bootstrap brokers, `host:port`, comma-separated.", examples=["kafka:9092"]
    )
    group_id: str = Field("wootric-destination", min_length=1, description="Consumer group.")
    topic: str = Field(
        "segment.events", min_length=1, description="Input topic, with Avro-encoded events."
    )
    ledger_topic: str = Field("", description="Ledger topic; default `<topic>.wootric.ledger`.")
    dead_letter_topic: str = Field(
        "", description="Topic of dead letters; default `<topic>.wootric.dlq`."
    )
    parked_topic: str = Field(
        "", description="Topic of parked events; default `<topic>.wootric.parked`."
    )
    instance_id: str = Field(
        default_factory=socket.gethostname,
        min_length=1,
        max_length=200,
        description="Static group member id and part of the transactional id; unique per worker, "
        "stable across restarts. Default: the host name.",
    )
    session_timeout_s: float = Field(
        10.0,
        ge=1,
        le=300,
        description="Seconds without a heartbeat after which a worker is replaced.",
    )
    transaction_timeout_s: float = Field(
        10.0, ge=1, le=900, description="Seconds after which the broker aborts an open transaction."
    )
    dedupe_window_s: int = Field(
        7 * DAY_S,
        ge=3600,
        description="Seconds for which a messageId is remembered; should exceed the input's "
        "retention.",
    )
    commit_interval_s: float = Field(
        0.25, gt=0, le=5, description="Seconds between transactions while events are in flight."
    )
    in_flight_records_max: int = Field(
        10_000, ge=100, description="Maximum number of events in memory, over all partitions."
    )
    in_flight_bytes_max: int = Field(
        32 * 1024 * 1024,
        ge=1024 * 1024,
        description="Maximum bytes of their records; the decoded events take several times as "
        "much.",
    )
    dead_letter_limit: int = Field(
        1_000,
        ge=0,
        description="Pause a partition when this many of its last 2N events were dead-lettered; "
        "0 disables.",
    )
    dead_letter_retention_s: int = Field(
        30 * DAY_S,
        ge=3600,
        description="Seconds for which `topics create` lets dead letters and parked events be "
        "kept; `topics check` warns of topics that differ.",
    )
    dead_letter_pause_s: float = Field(
        300.0, gt=0, description="Seconds for which such a partition is paused."
    )
    properties: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,
        description="JSON object of librdkafka properties: TLS, SASL and others.",
    )
    sasl_username: SecretStr | None = Field(
        None,
        description="SASL user name; replaces `sasl.username` in the properties.",
        examples=["wootric"],
    )
    sasl_password: SecretStr | None = Field(
        None,
        description="SASL password; replaces `sasl.password` in the properties.",
        examples=["…"],
    )

    auth: KafkaAuth = Field(
        KafkaAuth.PROPERTIES,
        description="How to log in: by the `properties`, or `aws_msk_iam`: Amazon MSK with IAM, "
        "which needs the extra `aws`.",
    )
    aws_region: str = Field(
        "", description="Region of the MSK cluster; default: from the names of its brokers."
    )

    @field_validator("properties")
    @classmethod
    def _clean_secrets(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {
            name: clean(value)
            if isinstance(value, str) and _SECRET_PROPERTY.fullmatch(name)
            else value
            for name, value in values.items()
        }

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if bool(self.sasl_username) != bool(self.sasl_password):
            raise ValueError("set both KAFKA__SASL_USERNAME and KAFKA__SASL_PASSWORD, or neither")
        return self

    @model_validator(mode="after")
    def _iam_is_complete(self) -> Self:
        if self.auth is not KafkaAuth.AWS_MSK_IAM:
            return self
        if self.login:
            raise ValueError("KAFKA__AUTH=aws_msk_iam has no user name and password: unset them")
        if not self.region:
            raise ValueError("the brokers' names have no region of AWS: set KAFKA__AWS_REGION")
        return self

    @property
    def region(self) -> str:
        """Region of the MSK cluster; empty if unknown."""
        named = _MSK_REGION.search(self.bootstrap_servers)
        return self.aws_region or (named[1] if named else "")

    @property
    def login(self) -> tuple[str, str] | None:
        """SASL user name and password, from either setting; None without both."""
        if self.sasl_username and self.sasl_password:
            return self.sasl_username.get_secret_value(), self.sasl_password.get_secret_value()
        named = (self.properties.get("sasl.username"), self.properties.get("sasl.password"))
        return (str(named[0]), str(named[1])) if all(named) else None

    @model_validator(mode="before")
    @classmethod
    def _name_topics(cls, values: Any) -> Any:
        if isinstance(values, dict):
            topic = values.get("topic") or "segment.events"
            for name, suffix in (
                ("ledger", "ledger"),
                ("dead_letter", "dlq"),
                ("parked", "parked"),
            ):
                if not values.get(f"{name}_topic"):
                    values[f"{name}_topic"] = f"{topic}.wootric.{suffix}"
        return values


class WootricSettings(Section):
    """The Wootric account, and how operations are delivered to it."""

    account_token: SecretStr = Field(
        description="Account token, `NPS-…`; selects the region.", examples=["NPS-EU-0a1b2c3d"]
    )
    client_id: SecretStr | None = Field(None, description="OAuth client id.", examples=["…"])
    client_secret: SecretStr | None = Field(
        None, description="OAuth client secret.", examples=["…"]
    )
    username: SecretStr | None = Field(
        None,
        description="User name for the OAuth password grant; alternative to client id and secret.",
    )
    password: SecretStr | None = Field(None, description="Password for the OAuth password grant.")
    api_url: str = Field(
        "", description="Scheme and host of the API, without /v1; default by region."
    )
    pixel_url: str = Field(PIXEL_URL, description="URL to which page views are reported.")
    requests_per_minute: int = Field(
        0,
        ge=0,
        description="Rate limit of API requests for the whole group; 0: only the replies' headers "
        "apply.",
    )
    in_flight_max: int = Field(64, ge=1, le=4096, description="Maximum concurrent requests.")
    request_timeout_s: float = Field(
        10.0, gt=0, le=300, description="Total timeout of one request, in seconds."
    )
    lease_s: float = Field(
        5.0,
        gt=0,
        le=60,
        description="Maximum age in seconds of the last committed transaction at which a request "
        "may still be sent.",
    )
    quiet_period_s: float = Field(
        60.0,
        ge=0,
        description="Seconds after a request in which its effect may still appear. Wootric queues "
        "responses and declines: it must exceed the delay of that queue, or a survey whose reply "
        "was lost may be recorded twice.",
    )
    attempts_max: int = Field(
        8,
        ge=1,
        le=1_000,
        description="Requests that one operation may spend on tries that fail while Wootric serves "
        "others. Then it is parked as `attempts_exhausted`, and its end user's lane continues.",
    )
    attempts_over_s: float = Field(
        600.0,
        gt=0,
        le=86_400,
        description="Seconds over which these tries are spread at least.",
    )
    in_doubt_pages: InDoubtPages = Field(
        InDoubtPages.PARK, description="What to do with page views in doubt: `park` or `resend`."
    )
    page_views: PageViews = Field(
        PageViews.PIXEL,
        description="What to do with page calls: report them through the `pixel`, or skip them "
        "(`off`). Wootric probably ignores the pixel since 2019.",
    )
    unchanged_resend_after_s: float = Field(
        DAY_S, ge=0, description="Seconds after which an unchanged profile is sent again."
    )
    amount_suffix: bool = Field(
        False, description="Append Wootric's `_amount` to the names of integer properties."
    )
    delete_users: bool = Field(False, description="Delete end users on delete calls.")

    @field_validator("account_token")
    @classmethod
    def _is_an_account_token(cls, token: SecretStr) -> SecretStr:
        if not _ACCOUNT_TOKEN.fullmatch(token.get_secret_value()):
            raise ValueError(
                "does not look like NPS-…, NPS-EU-… or NPS-AU-…; with a wrong token page views are "
                "lost without an error: copy it from Wootric's settings"
            )
        return token

    @model_validator(mode="after")
    def _has_credentials(self) -> Self:
        client = self.client_id and self.client_secret
        login = self.username and self.password
        if not client and not login:
            raise ValueError(
                "credentials are missing: set WOOTRIC__CLIENT_ID and WOOTRIC__CLIENT_SECRET, "
                "or WOOTRIC__USERNAME and WOOTRIC__PASSWORD"
            )
        return self


class SchemaRegistrySettings(Section):
    """Schema registry. Without one, values carry their schema's fingerprint."""

    url: str = Field(
        "",
        description="URL of a registry with Confluent's API; empty: no registry, values are in "
        "Avro's single-object encoding.",
    )
    username: str = Field("", description="User name or API key for basic authentication.")
    password: SecretStr | None = Field(None, description="Password or API secret.")
    subject: str = Field("", description="Subject of the input's schema; default `<topic>-value`.")
    register_schema: bool = Field(
        True,
        description="Register the schema of `bridge` and `publish`; false: only look it up.",
    )
    unknown_id_timeout_s: float = Field(
        300.0,
        ge=0,
        description="Seconds after which records with a schema id unknown to the registry become "
        "dead letters.",
    )

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return url


class BridgeSettings(Section):
    """The bridge from Segment to the input topic."""

    host: str = Field(
        "", description="Listen address of the webhook. Empty: all addresses, IPv4 and IPv6."
    )
    port: int = Field(8090, ge=0, le=65535, description="Listen port of the webhook.")
    shared_secret: SecretStr | None = Field(
        None,
        description="Segment's shared secret, of at least 16 characters; required by `bridge`.",
    )
    previous_secret: SecretStr | None = Field(
        None, description="Second secret that is accepted during a rotation."
    )
    unsigned_batch_items: Batches = Field(
        Batches.REJECT,
        description="Batches of which only the first event is signed: `reject` or `accept`.",
    )
    ack_timeout_s: float = Field(
        4.0,
        ge=1,
        le=60,
        description="Seconds to wait for Kafka's acknowledgement; Segment waits 5 s.",
    )
    head_timeout_s: float = Field(10.0, gt=0, description="Seconds to wait for a request's head.")
    body_timeout_s: float = Field(10.0, gt=0, description="Seconds to wait for a request's body.")
    max_age_s: int = Field(
        0,
        ge=0,
        description="Events with an older `sentAt` are refused; 0: none. Segment repeats requests "
        "for four hours.",
    )
    bound_by_address: bool = Field(
        True,
        description="Bound what one address may hold, and exclude those that send only what is "
        "refused. `false` behind a proxy that hides the senders' addresses.",
    )
    connections_max: int = Field(1_000, ge=2, description="Maximum concurrent connections.")
    in_flight_bytes_max: int = Field(
        32 * 1024 * 1024,
        ge=2 * 1024 * 1024,
        description="Maximum bytes of all requests in flight; beyond it, requests receive 503.",
    )
    group_id: str = Field(
        "",
        description="Consumer group of `bridge --from-topic`; default `<KAFKA__GROUP_ID>-bridge`.",
    )

    @field_validator("shared_secret", "previous_secret")
    @classmethod
    def _cannot_be_guessed(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret) < SECRET_LENGTH_MIN:
            raise ValueError(
                f"needs at least {SECRET_LENGTH_MIN} characters: make one with `openssl rand -hex "
                "16`, and enter it in Segment's webhook too"
            )
        return secret


class StateSettings(Section):
    """State stores on disk."""

    dir: str = Field(
        "",
        description="Directory for state stores, a local copy of the ledger; may be shared by "
        "workers. Empty: in memory.",
    )


class HttpSettings(Section):
    """HTTP server for metrics, health and status."""

    host: str = Field("", description="Listen address. Empty: all addresses, IPv4 and IPv6.")
    port: int = Field(8080, ge=0, le=65535, description="Port of metrics, health and status.")
    bearer_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Token of at least 16 characters that requests for metrics and status must "
        "carry (`Authorization: Bearer …`); unset: none. Probes need none.",
    )


class LogSettings(Section):
    """Logs, on stderr."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Minimum level: `DEBUG`, `INFO`, `WARNING` or `ERROR`."
    )
    format: LogFormat = Field(LogFormat.JSON, description="Format: `json` or `console`.")
    audit_file: str = Field(
        "",
        description="File to which a command appends a line before it shows personal data; "
        "`/proc/1/fd/2` is the log of a container. Empty: stderr of the command.",
    )


SECTIONS: Mapping[str, type[Section]] = {
    "kafka": KafkaSettings,
    "wootric": WootricSettings,
    "schema_registry": SchemaRegistrySettings,
    "bridge": BridgeSettings,
    "state": StateSettings,
    "http": HttpSettings,
    "log": LogSettings,
}


class TransformSettings(Section):
    """The account settings that the `transform` command uses; all are optional."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    account_token: SecretStr | None = None
    pixel_url: str = PIXEL_URL
    amount_suffix: bool = False
    delete_users: bool = False
    page_views: PageViews = PageViews.PIXEL
