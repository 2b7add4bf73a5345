"""The image, built by the builder that this machine has.

Docker pulls the base that the Dockerfile names. Where no registry can be reached, buildah builds
without a daemon on a base that mmdebstrap makes of Debian's packages.
"""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream import __version__

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
TAG = "localhost/wootric-stream:check"
BASE = "localhost/wootric-stream-base:check"
PACKAGES = "python3,python3-venv,ca-certificates"
HOST_FILES = ("/etc/ssl/certs", "/etc/pip.conf")
"""What a machine behind a proxy needs to fetch packages; mounted while it is built."""


def run(*command: str, timeout_s: float = 900) -> str:
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=timeout_s, cwd=ROOT
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    return result.stdout


def release() -> str:
    """Return this Debian's name: its keys are here."""
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


class Docker:
    """Docker with a daemon."""

    def build(self, _: Path) -> None:
        run("docker", "build", "--file", str(ROOT / "Dockerfile"), "--tag", TAG, ".")

    def inside(self, *command: str, environment: dict[str, str] | None = None) -> str:
        flags = [f"--env={name}={value}" for name, value in (environment or {}).items()]
        options = ("--rm", "--network=host", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL")
        return run("docker", "run", *options, *flags, "--entrypoint", command[0], TAG, *command[1:])

    def config(self) -> dict[str, object]:
        return dict(json.loads(run("docker", "inspect", TAG))[0]["Config"])

    def close(self) -> None:
        run("docker", "rmi", TAG)


class Buildah:
    """buildah without a daemon, on a base of Debian's packages."""

    def __init__(self) -> None:
        self._container = ""

    def build(self, scratch: Path) -> None:
        archive = scratch / "base.tar"
        run(
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={PACKAGES}",
            release(),
            str(archive),
        )
        base = run("buildah", "from", "scratch").strip()
        run("buildah", "add", base, str(archive), "/")
        run("buildah", "commit", "--rm", base, BASE)
        mounts = [f"--volume={path}:{path}:ro" for path in HOST_FILES if Path(path).exists()]
        run(
            *("buildah", "bud", "--isolation", "chroot", "--pull-never", *mounts),
            *("--ignorefile", str(ROOT / ".dockerignore")),
            *("--build-arg", f"PYTHON={BASE}", "--file", str(ROOT / "Dockerfile")),
            *("--tag", TAG, "."),
        )
        self._container = run("buildah", "from", "--pull-never", TAG).strip()

    def inside(self, *command: str, environment: dict[str, str] | None = None) -> str:
        flags = [f"--env={name}={value}" for name, value in (environment or {}).items()]
        return run(
            "buildah", "run", "--isolation", "chroot", *flags, self._container, "--", *command
        )

    def config(self) -> dict[str, object]:
        return dict(
            json.loads(run("buildah", "inspect", "--type", "image", TAG))["OCIv1"]["config"]
        )

    def close(self) -> None:
        run("buildah", "rm", self._container)
        run("buildah", "rmi", TAG, BASE)


def builder() -> Docker | Buildah:
    """Return a builder that works here; without one the test fails and says why."""
    if shutil.which("docker"):
        answer = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30)
        if answer.returncode == 0:
            return Docker()
    missing = [name for name in ("buildah", "mmdebstrap") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        why = f"no {' and no '.join(missing)}" if missing else "buildah needs root here"
        pytest.fail(f"Docker has no daemon here, and: {why}")
    return Buildah()


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Iterator[Docker | Buildah]:
    chosen = builder()
    chosen.build(tmp_path_factory.mktemp("image"))
    yield chosen
    chosen.close()


def test_the_image_runs_the_service(image):
    assert image.inside("wootric-stream", "--version").strip() == __version__


def test_the_image_starts_the_program_itself(image):
    """In exec form, so that SIGTERM reaches it and not a shell."""
    config = image.config()
    assert config["Entrypoint"] == ["/opt/wootric-stream/bin/wootric-stream"]
    assert config["Cmd"] == ["run"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__


def test_the_image_is_nobodys(image):
    """Not root, and nothing of the program can be written by it."""
    assert image.config()["User"] == "10001:10001"
    assert (
        image.inside("python3", "-c", "import os; print(os.getuid(), os.getgid())")
        == "10001 10001\n"
    )
    look = (
        "import os; print([p for p in ('/opt/wootric-stream', '/usr', '/etc') if os.access(p, 2)])"
    )
    assert image.inside("python3", "-c", look) == "[]\n"


def test_the_image_holds_no_tools_and_no_tests(image):
    """Neither the service's Python nor the base's can install anything."""
    look = (
        "import importlib.util as u, shutil; "
        "print([m for m in ('ensurepip', 'pip', 'setuptools', 'pytest') if u.find_spec(m)], "
        "[t for t in ('gcc', 'cc', 'make', 'git', 'curl', 'pip', 'pip3') if shutil.which(t)])"
    )
    python = "/opt/wootric-stream/bin/python"
    own = image.inside(python, "-c", "import sys; print(sys._base_executable)").strip()
    assert image.inside(python, "-c", look) == "[] []\n"
    assert image.inside(own, "-c", look) == "[] []\n"


def test_the_image_reaches_kafka(image, bootstrap_servers):
    """The chart's hooks, as they run in a cluster."""
    given = {"KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers, "KAFKA__TOPIC": "image.events"}
    image.inside("wootric-stream", "topics", "create", "--partitions", "1", environment=given)
    said = image.inside("wootric-stream", "topics", "check", environment=given)
    assert said.count("ok  ") == 4
