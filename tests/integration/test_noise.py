"""Records of which most are no events, through the service as a process."""

import asyncio
import json
from collections import Counter
from ctypes import CDLL, c_size_t, c_ssize_t, c_void_p, create_string_buffer
from pathlib import Path

import confluent_kafka
from noise import Noise
from stack import Stack
from test_service import PATIENT
from waiting import STILL_S

from tests.bench.ground import settled_in
from tests.bench.random_records import read_letters
from tests.bench.traces import distinct, publish

RECORDS = 5_000


async def test_random_records_never_stop_the_stream(stack: Stack) -> None:
    """Each is settled, each bad one is one dead letter, each good one between arrives once."""
    noise = Noise(7, distinct(RECORDS, 7))
    records = tuple(noise.record() for _ in range(RECORDS))
    worker = stack.worker(KAFKA__DEAD_LETTER_LIMIT="0", **PATIENT)
    worker.start()
    await asyncio.to_thread(publish, stack.bootstrap_servers, stack.config.topic, records)
    await stack.until_caught_up()
    status = json.loads((await worker.get("/status"))[1])
    assert settled_in(status) == RECORDS
    letters, twice = await asyncio.to_thread(read_letters, stack)
    assert letters == Counter(status["settled"]["rejected"])
    assert len(letters) > 10
    assert twice == 0
    pages = Counter((view.email, view.url) for view in stack.wootric.state.page_views)
    good = [(p["context"]["traits"]["email"], p["properties"]["url"]) for p in noise.good]
    assert len(good) > 20
    assert {pages[page] for page in good} == {1}
    assert worker.stop() == 0


async def test_a_header_whose_name_is_no_text_stops_nothing(stack: Stack) -> None:
    """Kafka takes any bytes for it, and producers in other languages write them."""
    worker = stack.worker()
    worker.start()
    await asyncio.to_thread(publish_with_header, stack, b"\xff\xfe", b"no event")
    await stack.until_caught_up()
    status = json.loads((await worker.get("/status"))[1])
    assert status["settled"]["rejected"] == {"undecodable": 1}
    (letter,) = stack.read(stack.config.dead_letter_topic)
    assert letter.value() == b"no event"
    assert worker.stop() == 0


def publish_with_header(stack: Stack, name: bytes, value: bytes) -> None:
    """Publish as a producer in C does: the Python client takes texts for names only."""
    (library,) = Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka*")
    c = CDLL(str(library))
    c.rd_kafka_conf_new.restype = c.rd_kafka_new.restype = c_void_p
    conf = c_void_p(c.rd_kafka_conf_new())
    said = create_string_buffer(500)
    servers = stack.bootstrap_servers.encode()
    assert c.rd_kafka_conf_set(conf, b"bootstrap.servers", servers, said, c_size_t(500)) == 0
    producer = c_void_p(c.rd_kafka_new(0, conf, said, c_size_t(500)))
    topic, copied, valued, header, end = 1, 7, 4, 9, 0  # rd_kafka_vtype_t
    assert not c.rd_kafka_producev(
        producer,
        *(topic, stack.config.topic.encode(), copied, 2),
        *(valued, value, c_size_t(len(value))),
        *(header, name, b"anything", c_ssize_t(8)),
        end,
    )
    assert c.rd_kafka_flush(producer, round(STILL_S * 1000)) == 0
    c.rd_kafka_destroy(producer)
