"""Checks of `wootric-stream doctor`, in the order in which the service depends on them."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from yarl import URL

from stream.doctor.checks import check_registry, check_state, check_wootric
from stream.doctor.kafka import check_kafka, check_kafka_for_bridge
from stream.doctor.network import Address, check_address, check_encryption, check_url
from stream.doctor.result import (
    CONFIGURATION,
    UNAVAILABLE,
    CheckResult,
    CheckStatus,
    failed,
    ok,
    warning,
)
from stream.errors import InvalidSettingsError, StartupError
from stream.kafka.config import KafkaConfig
from stream.runtime.worker import kafka_config
from stream.settings import KafkaSettings
from stream.settings_loader import Settings, load, load_bridge, load_webhook
from stream.wootric import wootric_account


def run_checks(*, tolerant: bool = False) -> Iterator[CheckResult]:
    """Yield the results for a worker as they become known. Writes to no topic and not to Wootric.

    ``tolerant`` turns an outage that the service waits out into a warning.
    """
    try:
        settings = load()
        if any(name.upper().startswith("BRIDGE__") for name in os.environ):
            load_bridge()
    except InvalidSettingsError as error:
        yield from _settings(error)
        return
    yield ok("settings", "complete and within their bounds")
    yield from check_state(settings.state.dir)
    kafka = settings.kafka
    checks = partial(check_kafka, dedupe_window_s=kafka.dedupe_window_s)
    yield from _kafka(kafka, checks)
    adjust = _tolerate_outage if tolerant else _unchanged
    yield from map(adjust, check_registry(settings.schema_registry, kafka.topic, writes=False))
    yield from map(adjust, _wootric(settings))


def run_bridge_checks(*, tolerant: bool = False) -> Iterator[CheckResult]:
    """Yield the results for the bridge's webhook; ``tolerant`` as in ``run_checks``."""
    try:
        settings = load_webhook()
    except InvalidSettingsError as error:
        yield from _settings(error)
        return
    yield ok("settings", "complete and within their bounds")
    kafka = settings.kafka
    yield from _kafka(kafka, check_kafka_for_bridge)
    adjust = _tolerate_outage if tolerant else _unchanged
    yield from map(adjust, check_registry(settings.schema_registry, kafka.topic, writes=True))


def _settings(error: InvalidSettingsError) -> Iterator[CheckResult]:
    for problem in error.problems:
        fix = "fix the environment; `wootric-stream settings NAME` explains a setting"
        yield failed("settings", problem, fix, exit_code=CONFIGURATION)


def _unchanged(one: CheckResult) -> CheckResult:
    return one


def _tolerate_outage(one: CheckResult) -> CheckResult:
    if one.state is CheckStatus.FAIL and one.exit_code == UNAVAILABLE:
        return warning(one.check, one.text, f"{one.fix}; the service waits for it")
    return one


def _kafka(
    kafka: KafkaSettings, checks: Callable[[KafkaConfig], Iterator[CheckResult]]
) -> Iterator[CheckResult]:
    try:
        config = quiet(kafka_config(kafka))
    except StartupError as error:
        fix = "docs/how-to/install/kafka/amazon-msk.md shows how to log in by IAM"
        yield failed("kafka login", str(error), fix, exit_code=error.exit_code)
        return
    properties = config.properties
    tls = str(properties.get("security.protocol", "plaintext")).lower() in {"ssl", "sasl_ssl"}
    reached = False
    addresses = brokers(config.bootstrap_servers)
    yield from check_encryption(addresses, properties)
    for address in addresses:
        found = list(check_address("kafka", address, tls=tls, properties=properties))
        reached = reached or all(one.state is not CheckStatus.FAIL for one in found)
        yield from found
    if reached:  # otherwise the client reports the same after a long timeout
        yield from checks(config)


def _wootric(settings: Settings) -> Iterator[CheckResult]:
    account = wootric_account(settings.wootric)
    reached: dict[str, bool] = {}
    for name, url in (("wootric api", account.token_url), ("wootric pixel", account.pixel_url)):
        found = list(check_url(name, URL(url)))
        reached[name] = all(one.state is not CheckStatus.FAIL for one in found)
        yield from found
    if reached["wootric api"]:
        yield from check_wootric(account)


def quiet(config: KafkaConfig) -> KafkaConfig:
    """Return the configuration without the client's log on stderr; results report its errors."""
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
