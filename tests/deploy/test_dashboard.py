"""The on-call dashboard's panels, of a real run: service, Prometheus, and a browser that draws.

There is no Grafana among Debian's packages; what is drawn here is what its queries answer. The
picture in the README is this test's: `PICTURES=docs/pictures make check-deploy ARGS="-k on_call"`.
"""

import asyncio
import json
import os
import re
import shutil
import struct
import time
from pathlib import Path

import pytest
from panel_picture import Series, page
from prometheus import Prometheus
from rendering import CHART
from stack import Stack
from test_dashboards import expression
from test_page import chromium
from test_rules import FILES

from stream.devtools.traffic import traffic
from stream.devtools.wootric_emulator.faults import Answer

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(180)]

SIZE = (1280, 835)
CHUNKS, CHUNK = 60, 100


async def test_the_on_call_dashboard_shows_a_run(stack: Stack, tmp_path: Path) -> None:
    """Traffic, a worker killed with -9 and started again, ten seconds of 429: all of it is seen."""
    board = json.loads((CHART / "files" / "dashboards" / "oncall.json").read_text())
    first, second = stack.worker("wootric-0"), stack.worker("wootric-1")
    for worker in (first, second):
        worker.start()
    with Prometheus(tmp_path, FILES, {"wootric-0": first.port, "wootric-1": second.port}) as store:
        await asyncio.to_thread(store.until_scraping)
        await first.until_ready()
        await second.until_ready()
        began_at = time.time()
        samples = [one.value for one in traffic(events=CHUNKS * CHUNK, seed=3, users=500)]
        for number in range(CHUNKS):
            if number == CHUNKS // 3:
                second.kill()
            if number == CHUNKS // 3 + 5:
                second.start()
            if number == CHUNKS * 2 // 3:
                refusal = Answer(status=429, headers={"Retry-After": "8"})
                stack.wootric.on("*", "/v1/*", refusal)
            chunk = samples[number * CHUNK : (number + 1) * CHUNK]
            await asyncio.gather(asyncio.to_thread(stack.publish, chunk), asyncio.sleep(1))
        await stack.until_caught_up()
        await asyncio.sleep(5)
        ended_at = time.time()
        answers: dict[str, list[Series]] = {}
        for panel in board["panels"]:
            for target in panel["targets"]:
                query = expression(target["expr"])
                found = store.query_range(query, began_at, ended_at)
                answers.setdefault(panel["title"], []).extend(
                    (legend(target.get("legendFormat", ""), one["metric"]), points(one, began_at))
                    for one in found
                )
    assert [title for title, series in answers.items() if not series] == []
    highest = max(value for _, line in answers["Behind, by partition"] for _, value in line)
    assert highest > 2
    drawn = tmp_path / "oncall.html"
    drawn.write_text(page(board, answers, ended_at - began_at), encoding="utf-8")
    picture = tmp_path / "oncall.png"
    flags = (f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={picture}")
    await asyncio.to_thread(chromium, drawn.as_uri(), *flags)
    assert struct.unpack(">II", picture.read_bytes()[16:24]) == SIZE
    if kept := os.environ.get("PICTURES"):
        shutil.copy(picture, kept)
    for worker in (first, second):
        assert await asyncio.to_thread(worker.stop) == 0


def legend(form: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), form).strip()


def points(answer: dict, began_at: float) -> list[tuple[float, float]]:
    found = [(at - began_at, float(value)) for at, value in answer["values"]]
    return [(at, value) for at, value in found if abs(value) < float("inf")]
