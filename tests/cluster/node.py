"""One node of Kubernetes in namespaces of its own: containerd, control plane, kubelet, kube-proxy
and CoreDNS.

The kernel ends all of it with the first process of the namespaces.
"""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from waiting import until_now

from tests.cluster.parts import PAUSE, Parts

HOST = "10.85.0.1"
"""The bridge's address: pods reach what listens beside the node by it."""
NETWORK = "10.85.0.0/16"
NAME = "node"
NAMESPACE = "surveys"
BRIDGE = "cni0"
MAC = "0a:58:0a:55:00:01"
"""Without one of its own a bridge has its lowest port's, and pods lose it as pods come and go."""
SOCKET = "/run/containerd/containerd.sock"
API = f"https://{HOST}:6443"
ETCD = "http://127.0.0.1:2379"
DOMAIN = "cluster.local"
COREFILE = """\
{domain}:53 {{
    bind {host}
    errors
    kubernetes {domain} {{
        kubeconfig {kubeconfig}
    }}
}}
"""
TOKEN = "of-tests"
CONTAINERD = """\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # runc fails where the machine may not lower an OOM score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{folder}/cni"
"""
NETWORKS = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": NETWORK}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}


class Node:
    """Its programs; ``folder`` has their settings, data and logs.

    The mounts hide the machine's own folders: nothing is written there.
    """

    def __init__(self, parts: Parts, folder: Path, cgroup: str, say: Callable[[str], None]) -> None:
        self._parts, self._folder, self._cgroup, self._say = parts, folder, cgroup, say
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{parts.path}",
            "KUBECONFIG": str(folder / "kubeconfig"),
            "HELM_CACHE_HOME": str(folder / "helm"),
            "HELM_CONFIG_HOME": str(folder / "helm"),
            "HELM_DATA_HOME": str(folder / "helm"),
        }

    @property
    def environment(self) -> Mapping[str, str]:
        """Where kubectl and Helm are, and find the cluster."""
        return self._environment

    def kubectl(self, *arguments: str) -> tuple[str, ...]:
        """Return the command line."""
        return (str(self._folder / "bin" / "kubectl"), *arguments)

    def start(self) -> None:
        """Start all; return when the node is ready."""
        self._machine()
        self._settings()
        self._say("containerd, with the images")
        config = str(self._folder / "containerd.toml")
        self._start("containerd", self._program("containerd"), "--config", config)
        ctr = (self._program("ctr"), "--address", SOCKET, "--namespace", "k8s.io")
        until_now(lambda: self._asked(*ctr, "version"), "containerd answers", self._alive)
        for image in self._parts.images:
            self._run(*ctr, "images", "import", str(image))
        self._say("etcd, API server, controller manager, scheduler, kube-proxy, CoreDNS")
        self._kubernetes("etcd", "/var/lib/etcd", ETCD)
        self._kubernetes("kube-apiserver", *self._api_server())
        kubectl = self.kubectl
        until_now(lambda: self._asked(*kubectl("get", "--raw=/readyz")), "it answers", self._alive)
        client = (f"--kubeconfig={self._folder / 'kubeconfig'}", "--leader-elect=false")
        key = f"--service-account-private-key-file={self._folder / 'key.pem'}"
        self._kubernetes("kube-controller-manager", *client, key)
        self._kubernetes("kube-scheduler", *client)
        self._kubernetes("kube-proxy", f"--config={self._folder / 'kube-proxy.yaml'}")
        self._start("coredns", str(self._parts.coredns), "-conf", str(self._folder / "Corefile"))
        self._say("kubelet")
        self._kubernetes(
            "kubelet",
            f"--config={self._folder / 'kubelet.yaml'}",
            f"--kubeconfig={self._folder / 'kubeconfig'}",
            f"--hostname-override={NAME}",
            f"--node-ip={HOST}",
        )
        wait = kubectl("wait", "--for=condition=Ready", f"node/{NAME}", "--timeout=1s")
        until_now(lambda: self._asked(*wait), "the node is ready", self._alive)

    def tag(self, image: str, tag: str) -> None:
        """Give an image another name."""
        ctr = (self._program("ctr"), "--address", SOCKET, "--namespace", "k8s.io")
        self._run(*ctr, "images", "tag", image, tag)

    def _machine(self) -> None:
        lib, log = self._folder / "lib", self._folder / "log"
        lib.mkdir()
        log.mkdir()
        for command in (
            ("mount", "--bind", str(lib), "/var/lib"),
            ("mount", "--bind", str(log), "/var/log"),
            ("mount", "-t", "tmpfs", "tmpfs", "/run"),
            ("ip", "link", "set", "lo", "up"),
            ("ip", "link", "add", BRIDGE, "address", MAC, "type", "bridge"),
            ("ip", "address", "add", f"{HOST}/16", "dev", BRIDGE),
            ("ip", "link", "set", BRIDGE, "up"),
        ):
            self._run(*command)

    def _settings(self) -> None:
        folder = self._folder
        (folder / "bin").mkdir()
        kubectl = folder / "bin" / "kubectl"
        kubectl.write_text(f'#!/bin/sh\nexec {self._parts.kubernetes} kubectl "$@"\n')
        kubectl.chmod(0o755)
        (folder / "bin" / "helm").symlink_to(self._parts.helm)
        (folder / "cni").mkdir()
        (folder / "cni" / "pods.conflist").write_text(json.dumps(NETWORKS))
        config = {"socket": SOCKET, "pause": PAUSE, "cni": self._parts.cni, "folder": folder}
        (folder / "containerd.toml").write_text(CONTAINERD.format(**config))
        self._run("openssl", "genrsa", "-out", str(folder / "key.pem"), "2048")
        (folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig(NAMESPACE)))
        (folder / "kubelet.yaml").write_text(yaml.safe_dump(kubelet(self._cgroup)))
        config = folder / "kubeconfig"
        (folder / "kube-proxy.yaml").write_text(yaml.safe_dump(kube_proxy(config)))
        names = {"domain": DOMAIN, "host": HOST, "kubeconfig": config}
        (folder / "Corefile").write_text(COREFILE.format(**names))

    def _api_server(self) -> tuple[str, ...]:
        key = self._folder / "key.pem"
        return (
            f"--etcd-servers={ETCD}",
            f"--bind-address={HOST}",
            f"--advertise-address={HOST}",
            "--kubelet-preferred-address-types=InternalIP",
            "--cert-dir=/run/kubernetes",
            f"--token-auth-file={self._folder / 'tokens.csv'}",
            "--authorization-mode=AlwaysAllow",
            "--allow-privileged=true",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.test",
            "--service-cluster-ip-range=10.96.0.0/16",
        )

    def _program(self, name: str) -> str:
        paths = (Path(folder, name) for folder in self._parts.path.split(":"))
        return str(next(path for path in paths if path.exists()))

    def _kubernetes(self, name: str, *arguments: str) -> None:
        self._start(name, str(self._parts.kubernetes), name, *arguments)

    def _start(self, name: str, *command: str) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _alive(self) -> object:
        """What moves while a part of the node is waited for; a part that has ended raises."""
        for name, process in self._running.items():
            if process.poll() is not None:
                text = (self._folder / f"{name}.log").read_text()
                raise AssertionError(f"{name} has ended:\n{text[-3000:]}")
        return [(self._folder / f"{name}.log").stat().st_size for name in self._running]

    def _asked(self, *command: str) -> bool:
        done = subprocess.run(command, env=self._environment, capture_output=True, check=False)
        return done.returncode == 0

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2000:]}"


def kubeconfig(namespace: str) -> dict[str, Any]:
    """Return how a client finds the API server, and a namespace in it."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": NAME, "cluster": {"server": API, "insecure-skip-tls-verify": True}},
        ],
        "users": [{"name": NAME, "user": {"token": TOKEN}}],
        "contexts": [
            {"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": namespace}},
        ],
        "current-context": NAME,
    }


def kubelet(cgroup: str) -> dict[str, Any]:
    """Return the kubelet's settings."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "clusterDNS": [HOST],
        "clusterDomain": DOMAIN,
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "resolvConf": "",
        "syncFrequency": "10s",  # by default secrets follow within a minute
        "volumePluginDir": "/var/lib/kubelet/plugins-of-volumes",
    }


def kube_proxy(config: Path) -> dict[str, Any]:
    """Return the settings of kube-proxy, which change no limit of the whole machine."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(config)},
        "clusterCIDR": NETWORK,
        "hostnameOverride": NAME,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
