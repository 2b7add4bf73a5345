"""What a machine must have to be a node, looked at before anything is started."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""The node's own network, mounts and processes: the kernel ends all of them with the first."""
CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuset", "devices", "memory", "pids")
"""The kubelet's, of version 1; in version 2 devices are not a controller."""
MEMORY_GB_MIN = 4.0
DISK_GB_MIN = 8.0
TRY = """
set -e
ip link add bridge0 type bridge
ip link add one type veth peer name other
ip link set one master bridge0
iptables --table nat --list >/dev/null
mkdir "$0/lower" "$0/upper" "$0/work" "$0/merged"
mount -t overlay overlay -o "lowerdir=$0/lower,upperdir=$0/upper,workdir=$0/work" "$0/merged"
mount -t tmpfs tmpfs /run
"""
"""What containers and pods need of the kernel, in namespaces that end with it."""


def missing(folder: Path) -> list[str]:
    """Return what is missing, each with its reason; ``folder`` is an empty one on the disk."""
    if sys.platform != "linux":
        return ["Linux: a node is one"]
    if os.geteuid() != 0:
        return ["root: namespaces, mounts and cgroups are made"]
    return [*_programs(), *_cgroups(), *_room(folder), *_kernel(folder)]


def _programs() -> Iterator[str]:
    for name, why in {
        "unshare": "namespaces are made (util-linux)",
        "setpriv": "they end with this program (util-linux)",
        "ip": "the pods' bridge is made (iproute2)",
        "iptables": "kube-proxy makes the addresses of Services (iptables)",
        "openssl": "the API server's key is made",
        "go": "Kubernetes is built (Go 1.24)",
        "buildah": "the image is built",
        "mmdebstrap": "the image's base is made",
    }.items():
        if shutil.which(name) is None:
            yield f"{name}: {why}"


def _cgroups() -> Iterator[str]:
    if version_2():
        found = set((CGROUPS / "cgroup.controllers").read_text().split())
        wanted = set(CONTROLLERS) - {"devices"}
    else:
        found = {path.name for path in CGROUPS.iterdir()} if CGROUPS.is_dir() else set()
        wanted = set(CONTROLLERS)
    if lacking := sorted(wanted - found):
        yield f"cgroups: no {', '.join(lacking)} in {CGROUPS}"


def version_2() -> bool:
    """Whether there is one hierarchy for all controllers."""
    return (CGROUPS / "cgroup.controllers").exists()


def _room(folder: Path) -> Iterator[str]:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    available = next(int(kb) for name, kb, *_ in lines if name == "MemAvailable:") / 1e6
    if available < MEMORY_GB_MIN:
        yield f"memory: {available:.1f} GB are available, {MEMORY_GB_MIN:g} are needed"
    free = shutil.disk_usage(folder).free / 1e9
    if free < DISK_GB_MIN:
        yield f"disk: {free:.1f} GB are free, {DISK_GB_MIN:g} are needed"


def _kernel(folder: Path) -> Iterator[str]:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return
    command = [*NAMESPACES, "sh", "-c", TRY, str(folder)]
    tried = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if tried.returncode:
        yield f"the kernel: {tried.stderr.strip().splitlines()[-1]}"
