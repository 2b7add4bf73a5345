"""The worker: creates all components from the settings and runs them."""

import asyncio
import ctypes
import gc
import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sink.delivery import ReadOperation, Sink, SinkListener
from stream import __version__
from stream.codec.avro import all_packaged
from stream.codec.decode import ById, Decoder
from stream.engine.limits import EngineConfig
from stream.engine.prepare import PreparedRecord, Transform, prepare
from stream.engine.task_manager import TaskManager
from stream.errors import StartupError
from stream.kafka.aws_msk_iam import PROPERTIES, msk_tokens
from stream.kafka.config import LETTER_BYTES_DEFAULT, KafkaConfig
from stream.kafka.consumer_thread import ConsumerThread
from stream.kafka.input_pause import PauseWatcher
from stream.kafka.lag import transaction_command
from stream.kafka.preflight import preflight
from stream.kafka.protocol import Failed
from stream.record import Record
from stream.runtime.processor import Processor, ProcessorConfig
from stream.schema_registry.setup import registered_schemas
from stream.settings import InDoubtPages, KafkaAuth, KafkaSettings
from stream.settings_loader import Settings, bearer_token, fingerprint, lasting, load_kafka
from stream.state.store import StateStoreProvider
from stream.telemetry import log as logs
from stream.telemetry.http import StatusServer
from stream.telemetry.metrics import Metrics
from stream.telemetry.observer import Observer, SinkObserver
from stream.telemetry.process import LoopLagProbe, watch_certificates
from stream.telemetry.status import Identity, StatusGauges, WorkerStatus

if TYPE_CHECKING:
    from stream.telemetry.tracing import Tracer

log = structlog.get_logger()

REVOKE_TIMEOUT_S = 3.0
"""How long requests in flight may take to finish when partitions are revoked."""
OFFSET_GAP_MAX = 100_000
"""How many offsets a partition is read beyond its lowest unsettled event."""
TRACE_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """What a worker needs of the destination that it delivers to.

    ``transform`` maps events to the destination's operations, and ``read_operation`` reads those
    that the ledger stores. ``open_sink`` yields the sink, for as long as the worker runs.
    """

    transform: Transform
    read_operation: ReadOperation
    open_sink: Callable[[SinkListener], AbstractAsyncContextManager[Sink]]


async def serve(settings: Settings, destination: Destination) -> None:
    """Run the worker until SIGTERM or SIGINT.

    Raises:
        StartupError: it cannot start.
        StreamError: Kafka or the producer cannot recover.
    """
    signal_handler = _stop_on_signals()
    kafka = settings.kafka
    config = kafka_config(kafka, long_lived=True)
    letter_bytes_max = await asyncio.to_thread(
        preflight, config, dedupe_window_s=kafka.dedupe_window_s
    )
    config = replace(config, letter_bytes_max=letter_bytes_max)
    metrics, worker_status, task_manager = (
        Metrics(),
        WorkerStatus(),
        TaskManager(
            engine_config(settings, letter_bytes_max), read_operation=destination.read_operation
        ),
    )
    metrics.config_info.labels(fingerprint(settings)).set(1)
    watch_certificates(metrics.certificates, config.properties)
    gauges = StatusGauges(
        metrics,
        worker_status,
        task_manager,
        records_limit=kafka.in_flight_records_max,
        bytes_limit=kafka.in_flight_bytes_max,
        polled_at=lambda: consumer_thread.polled_at,
    )
    tracer = tracing(settings.kafka.instance_id)
    observer = Observer(metrics, worker_status, gauges, tracer)
    logs.listen(observer.logged)
    sink_observer = SinkObserver(metrics, by_client=settings.wootric.client_id is not None)
    hooks = SinkListener(
        request_finished=observer.request_finished,
        throttled=observer.throttled,
        circuit_changed=observer.circuit_changed,
        token_refreshed=sink_observer.token_refreshed,
        token_refused=sink_observer.token_refused,
        concurrency_changed=sink_observer.concurrency_changed,
        allowance_changed=sink_observer.allowance_changed,
        pace_changed=sink_observer.pace_changed,
        identity_conflict=sink_observer.identity_conflict,
    )
    async with (
        destination.open_sink(hooks) as sink,
        registered_schemas(settings.schema_registry, config.topic) as schemas,
    ):
        gauges.rate_limited = lambda: sink.requests(time.monotonic(), within_s=0.0) < 1
        prepare_record = record_preparer(
            destination.transform, None if schemas is None else schemas.by_id
        )
        processor = Processor(
            task_manager=task_manager,
            sink=sink,
            prepare=prepare_record if tracer is None else tracer.judging(prepare_record),
            config=processor_config(settings),
            observer=observer,
            missing_schema=None if schemas is None else schemas.missing,
        )
        if schemas is not None:
            schemas.changed, schemas.waiting = processor.schemas_changed, processor.schema_waits
        consumer_thread = ConsumerThread(
            config,
            epoch=time.time_ns() // 1_000_000,
            on_event=processor.on_event,
            state_store_provider=state_store_provider(settings, processor),
        )
        await asyncio.to_thread(consumer_thread.start_transactions)
        status = StatusServer(
            metrics,
            worker_status,
            gauges,
            identity=Identity(
                config.instance_id,
                config.group_id,
                config.topic,
                lambda one: transaction_command(config, one.topic, one.number),
            ),
            polled_at=lambda: consumer_thread.polled_at,
            bearer_token=bearer_token(settings.http),
        )
        await status.start(settings.http.host, settings.http.port)
        await sink.start()  # reports wrong credentials before anything is read
        loop_lag_probe = LoopLagProbe(metrics.loop_lag)
        collecting = asyncio.create_task(collect_garbage_periodically())
        signal_handler.begin_drain = partial(_drain, processor, worker_status)
        log.info("started", version=__version__, group=config.group_id, topic=config.topic)
        try:
            await processor.run(consumer_thread, PauseWatcher(config, on_event=processor.on_event))
        finally:
            loop_lag_probe.close()
            collecting.cancel()
            await sink.close()
            await status.close()
            if tracer is not None:
                await tracer.close()
    log.info("stopped")


async def until_signal(coroutine: Coroutine[None, None, None]) -> None:
    """Await the coroutine; SIGTERM and SIGINT cancel it immediately."""
    _stop_on_signals()
    with suppress(asyncio.CancelledError):
        await coroutine


def kafka_config(kafka: KafkaSettings, *, long_lived: bool = False) -> KafkaConfig:
    """Return the Kafka configuration. With ``long_lived``, it follows credentials that change.

    Raises:
        StartupError: there is no token for Kafka.
    """
    first = kafka.login
    properties, token = kafka.properties, None
    if kafka.auth is KafkaAuth.AWS_MSK_IAM:
        properties, token = {**PROPERTIES, **properties}, msk_tokens(kafka.region)
    login = lasting(lambda: load_kafka().login, first=first) if long_lived else lambda: first
    return KafkaConfig(
        bootstrap_servers=kafka.bootstrap_servers,
        group_id=kafka.group_id,
        instance_id=kafka.instance_id,
        topic=kafka.topic,
        ledger_topic=kafka.ledger_topic,
        dead_letter_topic=kafka.dead_letter_topic,
        parked_topic=kafka.parked_topic,
        session_timeout_s=kafka.session_timeout_s,
        transaction_timeout_s=kafka.transaction_timeout_s,
        properties=properties,
        login=login,
        token=token,
    )


def engine_config(settings: Settings, letter_bytes_max: int = LETTER_BYTES_DEFAULT) -> EngineConfig:
    """Return the engine's limits."""
    wootric = settings.wootric
    return EngineConfig(
        lease_s=wootric.lease_s,
        takeover_wait_s=wootric.lease_s + wootric.request_timeout_s + wootric.quiet_period_s,
        quiet_s=wootric.quiet_period_s,
        attempts_max=wootric.attempts_max,
        attempts_over_s=wootric.attempts_over_s,
        unchanged_resend_after_s=wootric.unchanged_resend_after_s,
        offset_gap_max=OFFSET_GAP_MAX,
        dead_letter_limit=settings.kafka.dead_letter_limit,
        letter_bytes_max=letter_bytes_max,
        resend_unobservable=wootric.in_doubt_pages is InDoubtPages.RESEND,
        app_version=__version__,
        instance=settings.kafka.instance_id,
    )


def processor_config(settings: Settings) -> ProcessorConfig:
    """Return the event loop's limits."""
    return ProcessorConfig(
        commit_interval_s=settings.kafka.commit_interval_s,
        in_flight_records_max=settings.kafka.in_flight_records_max,
        in_flight_bytes_max=settings.kafka.in_flight_bytes_max,
        dead_letter_pause_s=settings.kafka.dead_letter_pause_s,
        revoke_timeout_s=REVOKE_TIMEOUT_S,
        drain_wait_s=settings.wootric.request_timeout_s + settings.kafka.transaction_timeout_s,
    )


def record_preparer(
    transform: Transform, by_id: ById | None = None
) -> Callable[[Record], PreparedRecord]:
    """Return a function that decodes and transforms records; ``by_id`` as for ``decoder``."""
    return partial(prepare, decoder=decoder(by_id), transform=transform)


def decoder(by_id: ById | None = None) -> Decoder:
    """Return the decoder of input values; ``by_id`` fetches schemas from the registry."""
    return Decoder(all_packaged(), by_id)


def state_store_provider(settings: Settings, processor: Processor) -> StateStoreProvider | None:
    """Return the persistent state stores, or None: RocksDB is then not imported."""
    if not settings.state.dir:
        return None
    from stream.state.rocksdb.directory import StateDirectory  # noqa: PLC0415  slow, and not always needed

    return StateDirectory(
        Path(settings.state.dir), on_failure=lambda failure: processor.on_event(Failed(failure))
    )


def tracing(instance_id: str, environ: Mapping[str, str] = os.environ) -> "Tracer | None":
    """Return the tracer if OpenTelemetry's variables name an endpoint; None otherwise.

    Without an endpoint no tracing code is loaded.

    Raises:
        StartupError: the endpoint is no URL, or the extra is not installed.
    """
    name = next((one for one in TRACE_ENDPOINTS if environ.get(one)), None)
    if name is None or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if not environ[name].startswith(("http://", "https://")):
        text = f"{name} is no URL of OTLP over HTTP, such as http://collector:4318"
        raise StartupError(text, exit_code=78)
    try:
        from stream.telemetry.tracing import Tracer  # noqa: PLC0415  an extra
    except ImportError as error:
        text = f"{name} is set, but {error.name} is not installed: add the extra tracing"
        raise StartupError(text, exit_code=78) from error
    return Tracer(instance=instance_id)


class SignalHandler:
    """Handler of SIGTERM and SIGINT: cancels the start, later begins the drain."""

    def __init__(self, begin_drain: Callable[[], object]) -> None:
        self.begin_drain = begin_drain

    def __call__(self) -> None:
        """Handle a signal."""
        self.begin_drain()


def _stop_on_signals() -> SignalHandler:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101
    signal_handler = SignalHandler(task.cancel)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signal_handler)
    return signal_handler


def _drain(processor: Processor, worker_status: WorkerStatus) -> None:
    worker_status.draining = True
    processor.stop()


# Memory: Python and the C library return what is unused; the image limits malloc (Dockerfile)


GENERATION_0_MAX = 100_000
"""Allocations between two collections. With the default of 700, a fifth of the service's time was
spent on scanning objects in flight (measured: 215 against 168 µs per event)."""
GENERATION_THRESHOLDS = (50, 100)
COLLECT_EVERY_S = 60.0
"""Failed requests leave cycles of 70 objects each (measured): with rare collections alone, tens of
megabytes of them would accumulate."""

_libc = ctypes.CDLL(None)


def tune_memory() -> None:
    """Exclude loaded objects from garbage collection, and make collections rare.

    Call it once, after all imports.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GENERATION_0_MAX, *GENERATION_THRESHOLDS)


def release_free_memory() -> None:
    """Return free pages to the system: takes 70 ms after half a million objects were freed."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


async def collect_garbage_periodically() -> None:
    """Collect all garbage once a minute and return free memory, forever.

    The collection runs on the event loop's thread, because finalizers have to run there. Memory is
    returned on another thread.
    """
    while True:
        await asyncio.sleep(COLLECT_EVERY_S)
        gc.collect()
        await asyncio.to_thread(release_free_memory)
