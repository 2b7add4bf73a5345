"""Build the image by the builder that this machine has: ``python -m scripts.image ARCHIVE``.

Docker pulls the base that the Dockerfile pins and builds for all platforms. Where no registry can be
reached, buildah builds without a daemon, for this machine's platform only, on a base that mmdebstrap
makes of Debian's packages: a rehearsal, no release.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TAG = f"localhost/wootric-stream:check-{os.getpid()}"
BASE = f"localhost/wootric-stream-base:check-{os.getpid()}"
PLATFORMS = "linux/amd64,linux/arm64"
PACKAGES = "python3,python3-venv,ca-certificates"
HOST_FILES = ("/etc/ssl/certs", "/etc/pip.conf")
"""What a machine behind a proxy needs to fetch packages; mounted while it is built."""
BUILD_S_MAX = 1800


class BuildError(Exception):
    """The image cannot be built here; the message says why."""


def run(*command: str, timeout_s: float = BUILD_S_MAX) -> str:
    """Return what a command prints.

    Raises:
        BuildError: it failed, with the end of what it printed.
    """
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=timeout_s, cwd=ROOT
    )
    if result.returncode != 0:
        raise BuildError(f"{command[0]}: {result.stdout[-2000:]}{result.stderr[-3000:]}")
    return result.stdout


class Docker:
    """Docker with a daemon."""

    def build(self) -> None:
        """Build for this machine's platform."""
        run("docker", "build", "--file", str(ROOT / "Dockerfile"), "--tag", TAG, ".")

    def archive(self, file: Path) -> str:
        """Write the image of all platforms as an OCI archive; return what it is."""
        output = f"type=oci,dest={file}"
        run("docker", "buildx", "build", "--platform", PLATFORMS, "--output", output, ".")
        return PLATFORMS

    def run_archive(self, _: Path, __: Path, *arguments: str) -> str:
        """Return what the program prints: Docker loads no archive of several platforms."""
        self.build()
        return run("docker", "run", "--rm", TAG, *arguments)

    def inside(self, *command: str, environment: dict[str, str] | None = None) -> str:
        """Return what a command prints in a container of the image."""
        flags = [f"--env={name}={value}" for name, value in (environment or {}).items()]
        options = ("--rm", "--network=host", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL")
        return run("docker", "run", *options, *flags, "--entrypoint", command[0], TAG, *command[1:])

    def config(self) -> dict[str, object]:
        """Return the image's configuration."""
        return dict(json.loads(run("docker", "inspect", TAG))[0]["Config"])

    def close(self) -> None:
        """Remove what was built."""
        run("docker", "rmi", TAG)


class Buildah:
    """buildah without a daemon, on a base of Debian's packages."""

    def __init__(self) -> None:
        self._container = ""

    def build(self) -> None:
        """Build the base and the image for this machine's platform."""
        self._build_base()
        mounts = [f"--volume={path}:{path}:ro" for path in HOST_FILES if Path(path).exists()]
        run(
            *("buildah", "bud", "--isolation", "chroot", "--pull-never", *mounts),
            *("--ignorefile", str(ROOT / ".dockerignore")),
            *("--build-arg", f"PYTHON={BASE}", "--file", str(ROOT / "Dockerfile")),
            *("--tag", TAG, "."),
        )
        self._container = run("buildah", "from", "--pull-never", TAG).strip()

    def _build_base(self) -> None:
        release = platform.freedesktop_os_release()["VERSION_CODENAME"]  # its keys are here
        with tempfile.TemporaryDirectory() as scratch:
            archive = str(Path(scratch, "base.tar"))
            include = f"--include={PACKAGES}"
            run("mmdebstrap", "--quiet", "--variant=minbase", include, release, archive)
            base = run("buildah", "from", "scratch").strip()
            run("buildah", "add", base, archive, "/")
            run("buildah", "commit", "--rm", base, BASE)

    def archive(self, file: Path) -> str:
        """Write the image as an OCI archive; return what it is."""
        self.build()
        run("buildah", "push", TAG, f"oci-archive:{file}")
        self.close()
        return "this machine's platform, on a base of Debian's packages: no release"

    def run_archive(self, file: Path, store: Path, *arguments: str) -> str:
        """Return what the program prints, with the archive unpacked to an empty ``store``."""
        places = ("--root", str(store / "root"), "--runroot", str(store / "run"))
        buildah = ("buildah", *places, "--storage-driver", "vfs")
        made = run(*buildah, "from", "--pull-never", f"oci-archive:{file}").strip()
        try:
            program = "/opt/wootric-stream/bin/wootric-stream"
            return run(*buildah, "run", "--isolation", "chroot", made, "--", program, *arguments)
        finally:
            run(*buildah, "rm", made)

    def inside(self, *command: str, environment: dict[str, str] | None = None) -> str:
        """Return what a command prints in a container of the image."""
        flags = [f"--env={name}={value}" for name, value in (environment or {}).items()]
        return run(
            "buildah", "run", "--isolation", "chroot", *flags, self._container, "--", *command
        )

    def config(self) -> dict[str, object]:
        """Return the image's configuration."""
        return dict(
            json.loads(run("buildah", "inspect", "--type", "image", TAG))["OCIv1"]["config"]
        )

    def close(self) -> None:
        """Remove what was built."""
        run("buildah", "rm", self._container)
        run("buildah", "rmi", TAG, BASE)


def builder() -> Docker | Buildah:
    """Return a builder that works here.

    Raises:
        BuildError: there is none.
    """
    if shutil.which("docker"):
        answer = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30)
        if answer.returncode == 0:
            return Docker()
    missing = [name for name in ("buildah", "mmdebstrap") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        why = f"no {' and no '.join(missing)}" if missing else "buildah needs root here"
        raise BuildError(f"Docker has no daemon here, and: {why}")
    return Buildah()


def main(file: Path) -> None:
    """Write an OCI archive and print what is in it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    print(f"{file}: {builder().archive(file)}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except BuildError as error:
        sys.exit(str(error))
