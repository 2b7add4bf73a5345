"""Composition and run loop of the bridge."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import structlog

from stream import __version__
from stream.bridge.admission import Admission
from stream.bridge.http_server import BridgeHealth, HttpServer, health_server
from stream.bridge.payload import Target, forward
from stream.bridge.signature import Verifier
from stream.bridge.webhook import Webhook
from stream.codec.dead_letter import DeadLetter
from stream.errors import StartupError
from stream.kafka.preflight import preflight_bridge
from stream.kafka.producer import AsyncProducer
from stream.kafka.repartition import OutputRecord, Repartitioner
from stream.kafka.topic_policies import letter_bytes
from stream.record import Partition, Record
from stream.runtime.worker import kafka_config
from stream.schema_registry.setup import header_for
from stream.settings import BridgeSettings
from stream.settings_loader import (
    BridgeOnly,
    bearer_token,
    lasting,
    load_webhook,
    shared_secrets,
)
from stream.telemetry.metrics import BridgeMetrics
from stream.telemetry.process import watch_certificates

log = structlog.get_logger()


async def serve_webhook(settings: BridgeOnly) -> None:
    """Accept Segment's webhooks until SIGTERM or SIGINT, then finish the accepted requests.

    Raises:
        StartupError: it cannot start.
        KafkaUnavailableError: the producer failed permanently.
    """
    ended = _until_signalled()
    bridge, config = settings.bridge, kafka_config(settings.kafka, long_lived=True)
    secrets = lasting(lambda: shared_secrets(load_webhook().bridge), first=shared_secrets(bridge))
    verifier = Verifier(secrets, bridge.unsigned_batch_items)
    record_bytes_max = await asyncio.to_thread(preflight_bridge, config)
    header = await header_for(settings.schema_registry, config.topic)
    metrics = BridgeMetrics()
    admission = Admission(
        connections_max=bridge.connections_max,
        bytes_max=bridge.in_flight_bytes_max,
        by_address=bridge.bound_by_address,
    )
    watch_certificates(metrics.certificates, config.properties)
    producer = AsyncProducer(
        config,
        record_bytes_max=record_bytes_max,
        ack_timeout_s=bridge.ack_timeout_s,
        on_failure=partial(_end, ended),
    )
    metrics.bytes_in_flight.set_function(lambda: admission.memory.used)
    metrics.kafka_up.set_function(lambda: float(not producer.unavailable))
    webhook = Webhook(
        verifier=verifier,
        target=Target(topic=config.topic, header=header, bytes_max=letter_bytes(record_bytes_max)),
        producer=producer,
        admission=admission,
        body_timeout_s=bridge.body_timeout_s,
        max_age_s=bridge.max_age_s,
        metrics=metrics,
    )
    health_state = BridgeHealth(lambda: producer.polled_at)
    health = health_server(metrics, health_state, bearer_token(settings.http))
    await health.start(settings.http.host, settings.http.port)
    listener = await _listen(webhook, bridge, admission, metrics)
    health_state.started = True
    log.info("bridge_started", version=__version__, topic=config.topic, port=bridge.port)
    try:
        await ended
    finally:
        health_state.draining = True
        log.info("draining", bytes_under_way=admission.memory.used)
        await listener.close()
        await producer.close()
        await health.close()
    log.info("stopped")


async def serve_topic(settings: BridgeOnly, source: str) -> None:
    """Transfer the events of a topic, each exactly once, until SIGTERM or SIGINT.

    Raises:
        StartupError: it cannot start.
        StreamError: another bridge has the same identity.
    """
    ended = _until_signalled()
    kafka = settings.kafka
    group_id = settings.bridge.group_id or f"{kafka.group_id}-bridge"
    config = replace(kafka_config(kafka, long_lived=True), group_id=group_id)
    record_bytes_max = await asyncio.to_thread(preflight_bridge, config, source=source)
    header = await header_for(settings.schema_registry, config.topic)
    target = Target(topic=config.topic, header=header, bytes_max=record_bytes_max)
    metrics = BridgeMetrics()
    watch_certificates(metrics.certificates, config.properties)
    health_state = BridgeHealth(lambda: rekeyer.polled_at)
    rekeyer = Repartitioner(
        config,
        source=source,
        record_bytes_max=record_bytes_max,
        convert=partial(convert, target=target),
        observer=Forwarding(metrics, health_state),
        on_end=partial(asyncio.get_running_loop().call_soon_threadsafe, _end, ended),
    )
    health = health_server(metrics, health_state, bearer_token(settings.http))
    await health.start(settings.http.host, settings.http.port)
    rekeyer.start()
    log.info("bridge_started", version=__version__, topic=config.topic, source=source)
    try:
        await ended
    finally:
        health_state.draining = True
        log.info("draining")
        rekeyer.stop()
        await asyncio.to_thread(rekeyer.join, kafka.transaction_timeout_s)
        await health.close()
    log.info("stopped")


async def _listen(
    webhook: Webhook, bridge: BridgeSettings, admission: Admission, metrics: BridgeMetrics
) -> HttpServer:
    listener = HttpServer(
        webhook.answer,
        admission,
        metrics,
        head_timeout_s=bridge.head_timeout_s,
        drain_s=bridge.ack_timeout_s + 1,
    )
    try:
        await listener.start(bridge.host, bridge.port)
    except OSError as error:
        raise StartupError(
            f"BRIDGE__PORT {bridge.port} cannot be used: {error.strerror}", exit_code=69
        ) from error
    return listener


def _until_signalled() -> "asyncio.Future[None]":
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, ended)
    return ended


def _end(ended: "asyncio.Future[None]", failure: BaseException | None = None) -> None:
    if ended.done():
        return
    if failure is None:
        ended.set_result(None)
    else:
        ended.set_exception(failure)


# Conversion and metrics of the transfer between topics


def convert(record: Record, target: Target) -> OutputRecord:
    """Return the output for a record."""
    found = forward(record, target, int(time.time() * 1000))
    return found if found is None or isinstance(found, DeadLetter) else (found.key, found.value)


class Forwarding:
    """Metrics of the transfer; its methods are called on the transfer's thread."""

    def __init__(self, metrics: BridgeMetrics, health_state: BridgeHealth) -> None:
        self._metrics = metrics
        self._health = health_state

    def joined(self) -> None:
        """Record that the group was joined; the bridge stays ready from then on."""
        self._health.started = True

    def transferred(self, outputs: Sequence[OutputRecord]) -> None:
        """Count a committed transaction."""
        self._metrics.transactions.labels("committed").inc()
        for outcome, count in Counter(map(_outcome, outputs)).items():
            self._metrics.records.labels(outcome).inc(count)

    def aborted(self, reason: str) -> None:
        """Count an aborted transaction."""
        self._metrics.transactions.labels("aborted").inc()
        log.warning("transfer_aborted", reason=reason)

    def lag(self, partition: Partition, records: int | None) -> None:
        """Set a partition's lag; None removes it."""
        labels = (partition.topic, str(partition.number))
        if records is not None:
            self._metrics.lag_records.labels(*labels).set(records)
        elif labels in self._metrics.lag_records._metrics:
            self._metrics.lag_records.remove(*labels)


def _outcome(output: OutputRecord) -> str:
    if output is None:
        return "skipped"
    return "rejected" if isinstance(output, DeadLetter) else "forwarded"
