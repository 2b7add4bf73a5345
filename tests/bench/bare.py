"""The bare loop: consume, decode, GET. No order, no ledger, at least once at best.

What somebody would write in an afternoon, with the same libraries and settings as ours.
"""

import asyncio
import os
import resource
import sys
import time

import aiohttp
import orjson
import uvloop
from confluent_kafka import Consumer
from yarl import URL

from sink.wootric.requests import pixel_request_url
from stream.codec.avro import all_packaged
from stream.codec.decode import Decoder
from stream.transform import Deliver, Rules, transform


async def main(bootstrap_servers: str, topic: str, pixel: str, in_flight: int, events: int) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"bare-{os.getpid()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": True,
        }
    )
    consumer.subscribe([topic])
    decoder, rules = Decoder(all_packaged()), Rules()
    queue: asyncio.Queue[bytes] = asyncio.Queue(in_flight * 2)
    done = 0
    began: tuple[float, float] | None = None

    async def send(session: aiohttp.ClientSession) -> None:
        nonlocal done
        while True:
            event = decoder.decode(await queue.get())
            verdict = transform(event, event_id=event.message_id or "", rules=rules)
            assert isinstance(verdict, Deliver)
            url = pixel_request_url(pixel, account_token="NPS-0a1b2c3d", page=verdict.operation)
            async with session.get(URL(url, encoded=True)) as reply:
                await reply.read()
            done += 1

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=in_flight), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        tasks = [asyncio.create_task(send(session)) for _ in range(in_flight)]
        while done < events:
            messages = await asyncio.to_thread(consumer.consume, 500, 0.05)
            if messages and began is None:
                began = (time.monotonic(), time.process_time())
            for message in messages:
                if message.error() is None:
                    await queue.put(message.value())
        assert began is not None
        took_s, cpu_s = time.monotonic() - began[0], time.process_time() - began[1]
        for task in tasks:
            task.cancel()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    figures = {"took_s": took_s, "cpu_s": cpu_s, "peak_mb": peak_mb}
    sys.stdout.write(orjson.dumps(figures).decode())


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])))
