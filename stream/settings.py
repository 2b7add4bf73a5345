"""Everything an operator may set: ``KAFKA__GROUP_ID`` sets ``kafka.group_id``.

Sections with their settings, defaults, bounds and descriptions; a component gets its section.
``stream.settings_loader`` reads them.
"""

import socket
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from sink.wootric.auth import PIXEL_URL
from stream.bridge.signature import Batches

DAY_S = 86_400


class Section(BaseModel):
    """A component's settings: frozen, and nothing unknown among them."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class InDoubtPages(StrEnum):
    """What becomes of a page view that may or may not have arrived."""

    PARK = "park"
    RESEND = "resend"


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    CONSOLE = "console"


class KafkaSettings(Section):
    """The input, the ledger and our place in the group."""

    bootstrap_servers: str = Field(
        description="Brokers to ask first, `host:port`, comma-separated."
    )
    group_id: str = Field("wootric-destination", min_length=1, description="Consumer group.")
    topic: str = Field("segment.events", min_length=1, description="Input: Avro-encoded events.")
    ledger_topic: str = Field("", description="Ledger; default `<topic>.wootric.ledger`.")
    dead_letter_topic: str = Field("", description="Dead letters; default `<topic>.wootric.dlq`.")
    parked_topic: str = Field("", description="Parked events; default `<topic>.wootric.parked`.")
    instance_id: str = Field(
        default_factory=socket.gethostname,
        min_length=1,
        max_length=200,
        description="Static member and part of the transactional id; one a worker, stable over "
        "restarts. Default: the host's name.",
    )
    session_timeout_s: float = Field(
        10.0, ge=1, le=300, description="Seconds after which a silent worker is replaced."
    )
    transaction_timeout_s: float = Field(
        10.0, ge=1, le=900, description="Seconds after which the broker aborts a transaction."
    )
    dedupe_window_s: int = Field(
        7 * DAY_S,
        ge=3600,
        description="Seconds for which a messageId is remembered; longer than the input is kept.",
    )
    commit_interval_s: float = Field(
        0.25, gt=0, le=5, description="Seconds between transactions while anything is under way."
    )
    in_flight_records_max: int = Field(
        10_000, ge=100, description="Events in memory, over all partitions."
    )
    in_flight_bytes_max: int = Field(
        32 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes of their records; what is made of them takes several times as much.",
    )
    offset_gap_max: int = Field(
        100_000,
        ge=100,
        description="How far a partition is read beyond its lowest unsettled event.",
    )
    dead_letter_limit: int = Field(
        1_000,
        ge=0,
        description="Dead letters among the last twice as many events of a partition that stop it "
        "for a while; 0 never stops it.",
    )
    dead_letter_pause_s: float = Field(
        300.0, gt=0, description="Seconds for which such a partition stands still."
    )
    revoke_timeout_s: float = Field(
        3.0, gt=0, description="Seconds to finish what is under way when partitions are given away."
    )
    properties: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,
        description="JSON object passed to librdkafka: TLS, SASL and the like.",
    )
    sasl_username: SecretStr | None = Field(
        None, description="Name for SASL; instead of `sasl.username` among the properties."
    )
    sasl_password: SecretStr | None = Field(None, description="Its password.")

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if bool(self.sasl_username) != bool(self.sasl_password):
            raise ValueError("KAFKA__SASL_USERNAME and KAFKA__SASL_PASSWORD belong together")
        return self

    @property
    def login(self) -> tuple[str, str] | None:
        """Name and password for SASL, by whichever setting; None where there are none."""
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
    """The account, and how it is treated."""

    account_token: SecretStr = Field(description="Account token, `NPS-…`; it chooses the region.")
    client_id: SecretStr | None = Field(None, description="OAuth client id.")
    client_secret: SecretStr | None = Field(None, description="OAuth client secret.")
    username: SecretStr | None = Field(None, description="Login, instead of a client.")
    password: SecretStr | None = Field(None, description="The login's password.")
    api_url: str = Field(
        "", description="Scheme and host of the API, without /v1; default by region."
    )
    pixel_url: str = Field(PIXEL_URL, description="Where page views are reported.")
    requests_per_minute: int = Field(
        0, ge=0, description="Pace of API requests; 0 obeys the replies' headers only."
    )
    in_flight_max: int = Field(64, ge=1, le=4096, description="Requests under way at once.")
    request_timeout_s: float = Field(
        10.0, gt=0, le=300, description="Total deadline of one request, in seconds."
    )
    lease_s: float = Field(
        5.0, gt=0, le=60, description="Seconds after its fence in which an attempt may start."
    )
    quiet_period_s: float = Field(
        60.0, ge=0, description="Seconds in which an effect may still appear after its request."
    )
    in_doubt_pages: InDoubtPages = Field(
        InDoubtPages.PARK, description="Page views in doubt: `park` or `resend`."
    )
    unchanged_resend_after_s: float = Field(
        DAY_S, ge=0, description="Seconds after which an unchanged profile is sent again."
    )
    amount_suffix: bool = Field(
        False, description="Add Wootric's `_amount` to the names of whole numbers."
    )
    delete_users: bool = Field(False, description="Let delete calls delete end users.")

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
    """Where schemas are kept by id; without it values carry their schema's fingerprint."""

    url: str = Field(
        "",
        description="Schema registry with Confluent's API; empty: no registry, values are Avro "
        "single objects.",
    )
    username: str = Field("", description="Basic authentication: user or API key.")
    password: SecretStr | None = Field(None, description="Its password or API secret.")
    subject: str = Field("", description="Subject of the input's schema; default `<topic>-value`.")
    register_schema: bool = Field(
        True,
        description="Whether `bridge` and `publish` register their schema, or only look it up.",
    )
    timeout_s: float = Field(5.0, gt=0, le=60, description="Seconds for one request to it.")
    unknown_id_timeout_s: float = Field(
        300.0,
        ge=0,
        description="Seconds after which records with an id that the registry does not know become "
        "dead letters.",
    )

    @model_validator(mode="after")
    def _is_a_url(self) -> Self:
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError("SCHEMA_REGISTRY__URL has to begin with http:// or https://")
        return self


class BridgeSettings(Section):
    """The way of Segment's events into the input."""

    host: str = Field("0.0.0.0", description="Address of the webhook.")  # noqa: S104  Segment comes from outside
    port: int = Field(8090, ge=0, le=65535, description="Port of the webhook.")
    shared_secret: SecretStr | None = Field(
        None, min_length=1, description="Secret that Segment signs with; `bridge` needs it."
    )
    previous_secret: SecretStr | None = Field(
        None, min_length=1, description="A second secret that counts as well, during a rotation."
    )
    unsigned_batch_items: Batches = Field(
        Batches.REJECT,
        description="Arrays of which only the first event is signed: `reject` or `accept`.",
    )
    ack_timeout_s: float = Field(
        4.0,
        ge=1,
        le=60,
        description="Seconds for Kafka to acknowledge a request; Segment itself waits 5 s.",
    )
    body_timeout_s: float = Field(10.0, gt=0, description="Seconds for a request's body to arrive.")
    keepalive_s: float = Field(
        75.0,
        gt=0,
        description="Seconds for the next request's head to arrive complete; an idle connection is "
        "closed then.",
    )
    connections_max: int = Field(1_000, ge=1, description="Connections at once.")
    in_flight_bytes_max: int = Field(
        32 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes of all requests under way; beyond it: 503.",
    )
    group_id: str = Field(
        "", description="Group of `bridge --from-topic`; default `<KAFKA__GROUP_ID>-bridge`."
    )


class StateSettings(Section):
    """Where what the ledger says is kept beside Kafka."""

    dir: str = Field(
        "",
        description="Directory for a copy of the ledger on disk, this worker's or shared; empty: "
        "it is held in memory.",
    )


class HttpSettings(Section):
    """The service's own HTTP server."""

    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104  probes come from outside
    port: int = Field(8080, ge=0, le=65535, description="Metrics, health and status.")


class LogSettings(Section):
    """Logs, on stderr."""

    level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Lowest level.")
    format: LogFormat = Field(LogFormat.JSON, description="`json` or `console`.")


class TracingSettings(Section):
    """Traces, by OpenTelemetry; the extra ``tracing`` has what it needs."""

    endpoint: str = Field(
        "",
        pattern="^(https?://.+)?$",
        description="Where spans are sent: OTLP over HTTP, `http://collector:4318/v1/traces`; "
        "empty: no tracing.",
    )
    sample_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the traces that begin here and are kept."
    )


SECTIONS: Mapping[str, type[Section]] = {
    "kafka": KafkaSettings,
    "wootric": WootricSettings,
    "schema_registry": SchemaRegistrySettings,
    "bridge": BridgeSettings,
    "state": StateSettings,
    "http": HttpSettings,
    "log": LogSettings,
    "tracing": TracingSettings,
}


class TransformSettings(Section):
    """What the transform's preview needs of the account; all of it may be left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    account_token: SecretStr | None = None
    pixel_url: str = PIXEL_URL
    amount_suffix: bool = False
    delete_users: bool = False
