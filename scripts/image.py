"""Build the image by the builder that this machine has: ``python -m scripts.image ARCHIVE``.

Docker pulls the base that the Dockerfile pins and builds for all platforms. Where no registry can be
reached, buildah builds without a daemon, on a base that mmdebstrap makes of Debian's packages, for this
machine's platform and the other one if it is emulated: a rehearsal, no release.
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
BUILD_S_MAX = 3600
OWN = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
EMULATORS = {"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"}
"""What Debian's qemu-user-static registers at the kernel, by the architecture that then runs."""


def emulated(name: str) -> bool:
    """Return whether programs of another architecture run here."""
    return Path("/proc/sys/fs/binfmt_misc", name).exists()


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
        """Write the image of all platforms as an OCI archive, with BuildKit's attestations:
        how it was built, and a list of its packages. Return what it is.
        """
        run(
            *("docker", "buildx", "build", "--platform", PLATFORMS),
            *("--sbom=true", "--provenance=mode=max"),
            *("--build-arg", f"REVISION={run('git', 'rev-parse', 'HEAD').strip()}"),
            *("--output", f"type=oci,dest={file}", "."),
        )
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

    tag = f"{TAG}-{OWN}"
    """The image of this machine's platform."""

    def __init__(self) -> None:
        self._container = ""
        self._made: list[str] = []

    def build(self) -> None:
        """Build the base and the image for this machine's platform."""
        self._container = run("buildah", "from", "--pull-never", self._build(OWN)).strip()

    def _build(self, architecture: str) -> str:
        """Return the tag of the image of one platform."""
        tag, base = f"{TAG}-{architecture}", f"{BASE}-{architecture}"
        self._build_base(architecture, base)
        self._made.append(base)
        mounts = [f"--volume={path}:{path}:ro" for path in HOST_FILES if Path(path).exists()]
        run(
            *("buildah", "bud", "--isolation", "chroot", "--pull-never", *mounts),
            *("--arch", architecture, "--ignorefile", str(ROOT / ".dockerignore")),
            *("--build-arg", f"PYTHON={base}", "--file", str(ROOT / "Dockerfile")),
            *("--tag", tag, "."),
        )
        self._made.append(tag)
        return tag

    def _build_base(self, architecture: str, tag: str) -> None:
        release = platform.freedesktop_os_release()["VERSION_CODENAME"]  # its keys are here
        with tempfile.TemporaryDirectory() as scratch:
            archive = str(Path(scratch, "base.tar"))
            options = ("--variant=minbase", f"--include={PACKAGES}", "--skip=check/qemu,output/dev")
            run(
                *("mmdebstrap", "--quiet", *options, f"--architectures={architecture}"),
                release,
                archive,
            )
            base = run("buildah", "from", "scratch").strip()
            run("buildah", "config", "--arch", architecture, base)
            run("buildah", "add", base, archive, "/")
            run("buildah", "commit", "--rm", base, tag)

    def archive(self, file: Path) -> str:
        """Write the image of all platforms that run here as an OCI archive; return what it is."""
        architectures = [OWN, *(one for one, name in EMULATORS.items() if emulated(name))]
        index = f"{TAG}-index"
        try:
            run("buildah", "manifest", "create", index, *map(self._build, architectures))
            run("buildah", "manifest", "push", "--all", index, f"oci-archive:{file}")
            run("buildah", "manifest", "rm", index)
        finally:
            self.close()
        return f"{', '.join(architectures)}, on a base of Debian's packages: no release"

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
            json.loads(run("buildah", "inspect", "--type", "image", self.tag))["OCIv1"]["config"]
        )

    def close(self) -> None:
        """Remove what was built."""
        if self._container:
            run("buildah", "rm", self._container)
        if self._made:
            run("buildah", "rmi", *reversed(self._made))


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
