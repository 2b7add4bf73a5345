"""The status page as a browser shows it: a real Chromium, headless, on a real worker."""

import asyncio
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest
from stack import Stack, Worker

from stream.devtools.traffic import traffic

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(180)]

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def chromium(url: str, *flags: str) -> str:
    """Open a page, let it live for some seconds of its own time, and return what it then is."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "install Debian's package chromium"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        done = subprocess.run(
            [
                program,
                *FLAGS,
                f"--user-data-dir={profile}",
                "--virtual-time-budget=6000",
                *flags,
                url,
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    return re.sub(r"<script>.*?</script>", "", done.stdout, flags=re.DOTALL)


def shown(page: str, name: str) -> str:
    """Return the text of an element of the page."""
    found = re.search(rf'id="{name}"[^>]*>(.*?)</(?:div|span|table)>', page, re.DOTALL)
    assert found, page
    return re.sub(r"<[^>]+>", " ", found[1]).strip()


async def open_page(worker: Worker, *flags: str) -> str:
    return await asyncio.to_thread(chromium, f"http://127.0.0.1:{worker.port}/", *flags)


async def test_the_page_answers_what_is_asked_first(stack: Stack, tmp_path: Path) -> None:
    """Flow, lag, doubt, circuit and dead letters; live, on a phone and in the dark."""
    stack.settings = {"WOOTRIC__QUIET_PERIOD_S": "60", "KAFKA__INSTANCE_ID": "wootric-0"}
    worker = stack.worker("wootric-0")
    worker.start()
    await worker.until_ready()
    samples = [sample.value for sample in traffic(events=2500, seed=7, users=400)]
    for chunk in range(0, 2500, 250):
        await asyncio.to_thread(stack.publish, samples[chunk : chunk + 250])
        await asyncio.sleep(0.8)
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"reply_delay_s": 1.0})
    slow = [{"type": "identify", "userId": f"s{n}", "traits": {"n": n}} for n in range(1500)]
    await asyncio.to_thread(stack.publish, slow)
    page = await open_page(worker, "--dump-dom")
    assert re.fullmatch(r"Flowing, [\d,]+ events under way", shown(page, "verdict"))
    assert "flowing" in shown(page, "partitions")
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"reply_delay_s": 0.0})
    await stack.until_caught_up()
    page = await open_page(worker, "--dump-dom")
    assert shown(page, "verdict") == "Caught up"
    assert "wootric-0" in shown(page, "who")
    assert shown(page, "behind") == "caught up"
    assert shown(page, "circuit") == "yes"
    status = (await worker.get("/status"))[1]
    for reason in ("invalid_score", "undecodable"):
        assert reason in status
        assert reason in shown(page, "letters")
    assert "delivered" in shown(page, "outcomes")
    assert shown(page, "age") == "live"
    assert "NaN" not in page
    assert "undefined" not in page
    for name, size, flags in (
        ("light", (1180, 1010), ()),
        ("dark", (1180, 1010), ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")),
        ("phone", (500, 1500), ()),
    ):
        picture = tmp_path / f"{name}.png"
        await open_page(
            worker, f"--window-size={size[0]},{size[1]}", f"--screenshot={picture}", *flags
        )
        width, height = struct.unpack(">II", picture.read_bytes()[16:24])
        assert (width, height) == size
    assert (tmp_path / "light.png").read_bytes() != (tmp_path / "dark.png").read_bytes()
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"client_secret": "another"})
    stack.wootric.revoke_tokens()
    stack.publish([{"type": "identify", "userId": "new", "traits": {"email": "new@example.com"}}])
    await worker.until_logged('"circuit_opened"')
    page = await open_page(worker, "--dump-dom")
    assert shown(page, "verdict").startswith("Nothing is sent to Wootric's API")
    assert shown(page, "circuit").startswith("no: ")
    assert "new@example.com" not in page
    worker.kill()
