"""The doctor: everything that has to be right, looked at in the order in which it is needed."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from stream.doctor.checks import look_at_registry, look_at_state, look_at_wootric
from stream.doctor.kafka import look_at_kafka, look_at_kafka_for_bridge
from stream.doctor.network import Address, look_at, look_at_version
from stream.doctor.result import (
    CONFIGURATION,
    UNAVAILABLE,
    Diagnosis,
    State,
    doubtful,
    failed,
    fine,
)
from stream.errors import StartupError
from stream.kafka.config import KafkaConfig
from stream.runtime.worker import kafka_config, wootric_account
from stream.settings_loader import Settings, load, load_bridge, shared_secrets


def examine(*, tolerant: bool = False) -> Iterator[Diagnosis]:
    """Yield what is found for a worker, each as soon as it is known. Nothing is written to any
    topic, and nothing at Wootric.

    ``tolerant`` takes an outage that the service waits out itself for a warning.
    """
    try:
        settings = load()
        if any(name.upper().startswith("BRIDGE__") for name in os.environ):
            load_bridge()
    except StartupError as error:
        yield from _settings(error)
        return
    yield fine("settings", "complete and within their bounds")
    yield from look_at_state(settings.state.dir)
    config = quiet(kafka_config(settings.kafka))
    window_s = settings.kafka.dedupe_window_s
    yield from _kafka(config, partial(look_at_kafka, config, dedupe_window_s=window_s))
    judge = _waited_out if tolerant else _as_it_is
    yield from map(judge, look_at_registry(settings.schema_registry, config.topic, writes=False))
    yield from map(judge, _wootric(settings))


def examine_bridge(*, tolerant: bool = False) -> Iterator[Diagnosis]:
    """Yield what is found for the bridge's webhook, in the same way."""
    try:
        settings = load_bridge()
        shared_secrets(settings.bridge)
    except StartupError as error:
        yield from _settings(error)
        return
    yield fine("settings", "complete and within their bounds")
    config = quiet(kafka_config(settings.kafka))
    yield from _kafka(config, partial(look_at_kafka_for_bridge, config))
    judge = _waited_out if tolerant else _as_it_is
    yield from map(judge, look_at_registry(settings.schema_registry, config.topic, writes=True))


def _settings(error: StartupError) -> Iterator[Diagnosis]:
    for problem in str(error).splitlines()[1:]:
        mend = "fix the environment; docs/reference/settings.md lists all settings"
        yield failed("settings", problem.strip(), mend, exit_code=CONFIGURATION)


def _as_it_is(one: Diagnosis) -> Diagnosis:
    return one


def _waited_out(one: Diagnosis) -> Diagnosis:
    if one.state is State.FAIL and one.exit_code == UNAVAILABLE:
        return doubtful(one.check, one.text, f"{one.mend}; the service waits for it")
    return one


def _kafka(config: KafkaConfig, look: Callable[[], Iterator[Diagnosis]]) -> Iterator[Diagnosis]:
    properties = config.properties
    tls = str(properties.get("security.protocol", "plaintext")).lower() in {"ssl", "sasl_ssl"}
    reached: Address | None = None
    for address in brokers(config.bootstrap_servers):
        found = list(look_at("kafka", address, tls=tls, properties=properties))
        if all(one.state is not State.FAIL for one in found):
            reached = address
        yield from found
    if reached is not None:  # else Kafka's client would only say the same after a long wait
        yield from look_at_version(reached, tls=tls, properties=properties)
        yield from look()


def _wootric(settings: Settings) -> Iterator[Diagnosis]:
    account = wootric_account(settings.wootric)
    reached: dict[str, bool] = {}
    for name, url in (("wootric api", account.token_url), ("wootric pixel", account.pixel_url)):
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        address = Address(parts.hostname or "", parts.port or (443 if tls else 80))
        found = list(look_at(name, address, tls=tls, properties={}))
        reached[name] = all(one.state is not State.FAIL for one in found)
        yield from found
    if reached["wootric api"]:
        yield from look_at_wootric(account)


def quiet(config: KafkaConfig) -> KafkaConfig:
    """Return the same without the client's own lines on stderr: we say it in ours."""
    return replace(config, properties={**config.properties, "log_level": 0})


def brokers(bootstrap_servers: str) -> list[Address]:
    """Return the addresses of ``host:port,host:port``."""
    addresses = []
    for server in bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        if port.isdecimal() and host:
            addresses.append(Address(host.rpartition("/")[2].strip("[]"), int(port)))
        else:
            addresses.append(Address(server.strip(), 9092))
    return addresses
