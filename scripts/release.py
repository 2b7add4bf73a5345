"""Rehearse a release: build everything into dist/, and install each part in an empty place.

``python -m scripts.release PYTHON`` gets the Python of the maintainers' tools. It changes nothing
outside of dist/ and a temporary folder, and publishes nothing.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.image import BuildError, builder, run
from stream import __version__
from stream.devtools.kafka_node import free_ports
from tests.chart import chart_tools

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
CHART = "wootric-destination"
DEMO_S = 20
REGISTRY_UP_S = 30


def sources(into: Path) -> Path:
    """Return a folder with what a clone has, without what was built here before."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, into / name)
    return into


def the(pattern: str) -> Path:
    """Return the only file of dist/ with this name."""
    (found,) = DIST.glob(pattern)
    return found


class Rehearsal:
    """The steps, in order; each returns what it did."""

    def __init__(self, tools: Path, scratch: Path) -> None:
        self._tools = str(tools)
        self._scratch = scratch

    def steps(self) -> dict[str, Callable[[], str]]:
        """Return the steps by their titles."""
        return {
            "build the wheel from the sdist": self.wheel,
            "package the chart": self.chart,
            "write the bill of materials": self.bill,
            "build the image": self.image,
            f"install the wheel in an empty environment, and run its demo for {DEMO_S} s": self.demo,
            "push the chart to a registry, pull it and render it": self.pulled_chart,
            "run the image from its archive": self.started_image,
            "write the checksums": self.checksums,
        }

    def wheel(self) -> str:
        """Build from a copy: an older build/ would add its files."""
        source = sources(self._scratch / "source")
        run(self._tools, "-m", "build", "--no-isolation", "--outdir", str(DIST), str(source))
        return ", ".join(sorted(file.name for file in DIST.iterdir()))

    def chart(self) -> str:
        """Package with Helm, in the version that the chart states."""
        folder = ROOT / "helm" / CHART
        run(chart_tools.path("helm"), "package", str(folder), "--destination", str(DIST))
        return the(f"{CHART}-*.tgz").name

    def bill(self) -> str:
        """Write what the image is made of."""
        file = DIST / f"wootric-stream-{__version__}.cdx.json"
        run(self._tools, "-m", "scripts.sbom", str(file))
        return file.name

    def image(self) -> str:
        """Write an archive; which platforms depends on the builder."""
        return builder().archive(DIST / f"wootric-stream-{__version__}-image.tar")

    def demo(self) -> str:
        """Run the program as people do who have nothing but the wheel."""
        place = self._scratch / "empty"
        venv.create(place, with_pip=True)
        wheel = str(the("*.whl"))
        run(str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", wheel)
        program = str(place / "bin" / "wootric-stream")
        subprocess.run([program, "demo", "--seconds", str(DEMO_S)], check=True, cwd=place)
        return run(program, "--version").strip()

    def pulled_chart(self) -> str:
        """Take the way of people who install from a registry."""
        helm, package = chart_tools.path("helm"), the(f"{CHART}-*.tgz")
        with registry() as address:
            run(helm, "push", str(package), f"oci://{address}/charts", "--plain-http")
            (place := self._scratch / "pulled").mkdir()
            chart = f"oci://{address}/charts/{CHART}"
            options = ("--version", __version__, "--plain-http", "--destination", str(place))
            run(helm, "pull", chart, *options)
        pulled = place / package.name
        if pulled.read_bytes() != package.read_bytes():
            raise BuildError("the registry returned another chart than it was given")
        values = str(ROOT / "helm" / CHART / "examples" / "minimal.yaml")
        rendered = run(helm, "template", "release", str(pulled), "--values", values)
        return f"{rendered.count('kind: ')} objects"

    def started_image(self) -> str:
        """Start the program from the archive alone."""
        archive = DIST / f"wootric-stream-{__version__}-image.tar"
        said = builder().run_archive(archive, self._scratch / "store", "--version").strip()
        if said != __version__:
            raise BuildError(f"the image says that it is {said}")
        return said

    def checksums(self) -> str:
        """Write the form that `sha256sum --check` reads; an image has its digest."""
        files = sorted(one for one in DIST.iterdir() if not one.name.endswith("-image.tar"))
        lines = [f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name}\n" for one in files]
        (DIST / "SHA256SUMS").write_text("".join(lines))
        return f"{len(files)} files"


@contextmanager
def registry() -> Iterator[str]:
    """Yield the address of an empty OCI registry on loopback, kept in memory."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    serve = [str(chart_tools.built("crane")), "registry", "serve", "--address", address]
    process = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + REGISTRY_UP_S
        catalog = [serve[0], "catalog", "--insecure", address]
        while subprocess.run(catalog, capture_output=True, check=False).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BuildError("the registry did not start")
            time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


def main(tools: Path) -> None:
    """Take all steps and print the progress."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        steps = Rehearsal(tools, Path(scratch)).steps()
        for number, (title, step) in enumerate(steps.items(), 1):
            print(f"[{number}/{len(steps)}] {title}", flush=True)
            began_at = time.monotonic()
            print(f"      {step()} ({time.monotonic() - began_at:.0f} s)", flush=True)
    print(f"version {__version__} is in {DIST.relative_to(ROOT)}/; nothing was published")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).absolute())
    except (BuildError, chart_tools.MissingError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
