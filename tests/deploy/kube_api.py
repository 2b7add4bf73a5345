"""Kubernetes' own API server, built once by Go into the user's cache folder, and asked over HTTP.

It has an etcd inside (`apiserver/main.go`), so nothing else has to be installed. Building takes
some minutes of two cores and 2 GB of Go's caches; the program is 107 MB.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from chart_tools import MissingError, folder
from stack import free_port

SOURCE = Path(__file__).parent / "apiserver"
VERSION = next(
    line.split()[1].removeprefix("v")
    for line in (SOURCE / "go.mod").read_text().splitlines()
    if line.strip().startswith("k8s.io/kubernetes ")
)
TOKEN = "of-tests"
NAMESPACE = "surveys"
"""Where objects go that name none, as `helm install --namespace` does it."""
UP_S = 60


def program() -> Path:
    """Return the API server; a test that cannot have it fails and says why."""
    try:
        return build()
    except MissingError as missing:
        pytest.fail(str(missing))


def build() -> Path:
    """Build it, if that was not done before.

    Raises:
        MissingError: it cannot be built here.
    """
    kept = folder() / f"kube-apiserver-{VERSION}"
    if kept.exists():
        return kept
    if not shutil.which("go"):
        raise MissingError("there is no go to build Kubernetes' API server; install Go 1.24")
    print(f"building kube-apiserver {VERSION} (once, some minutes)", file=sys.stderr)
    kept.parent.mkdir(parents=True, exist_ok=True)
    new = kept.with_suffix(".new")
    done = subprocess.run(
        ["go", "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", str(new), "."],
        cwd=SOURCE,
        env={**os.environ, "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MissingError(f"Kubernetes' API server cannot be built: {done.stderr[-2000:]}")
    new.replace(kept)
    return kept


@dataclass(frozen=True)
class Answer:
    """What the server says to one object."""

    status: int
    body: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class Api:
    """The server, as somebody who may do everything."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._resources: dict[tuple[str, str], tuple[str, bool]] = {}

    async def create(self, document: dict[str, Any], *, dry: bool = True) -> Answer:
        """Create an object, or only find out whether it would be."""
        return await self._send("POST", await self._path(document), document, dry=dry)

    async def replace(self, document: dict[str, Any]) -> Answer:
        """Find out whether an object may become this."""
        path = f"{await self._path(document)}/{document['metadata']['name']}"
        return await self._send("PUT", path, document, dry=True)

    async def until_known(self, api_version: str, kind: str) -> None:
        """Return once a kind can be asked for."""
        for _ in range(200):
            with suppress(KeyError):
                await self._resource(api_version, kind)
                return
            await asyncio.sleep(0.1)
        pytest.fail(f"{kind} never became known")

    async def _send(self, method: str, path: str, document: Any, *, dry: bool) -> Answer:
        strict = {"fieldValidation": "Strict", **({"dryRun": "All"} if dry else {})}
        async with self._session.request(method, path, json=document, params=strict) as reply:
            warnings = tuple(reply.headers.getall("Warning", ()))
            return Answer(reply.status, await reply.json(), warnings)

    async def _path(self, document: dict[str, Any]) -> str:
        name, namespaced = await self._resource(document["apiVersion"], document["kind"])
        group = _group(document["apiVersion"])
        namespace = document["metadata"].get("namespace", NAMESPACE)
        within = f"/namespaces/{namespace}" if namespaced else ""
        return f"{group}{within}/{name}"

    async def _resource(self, api_version: str, kind: str) -> tuple[str, bool]:
        if (api_version, kind) not in self._resources:
            async with self._session.get(_group(api_version)) as reply:
                found = await reply.json() if reply.status == 200 else {}  # 404: not served yet
            for one in found.get("resources", ()):
                if "/" not in one["name"]:
                    self._resources[api_version, one["kind"]] = (one["name"], one["namespaced"])
        return self._resources[api_version, kind]


def _group(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


@contextmanager
def running(scratch: Path) -> Iterator[str]:
    """Run the server; yield its address."""
    key, tokens, port = scratch / "key.pem", scratch / "tokens.csv", free_port()
    made = ["openssl", "genrsa", "-out", str(key), "2048"]
    subprocess.run(made, check=True, capture_output=True)
    tokens.write_text(f'{TOKEN},admin,admin,"system:masters"\n')
    command = [
        str(program()),
        str(scratch / "etcd"),
        f"http://127.0.0.1:{free_port()}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={scratch / 'certificates'}",
        f"--token-auth-file={tokens}",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-account-issuer=https://kubernetes.test",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",  # a pod's account need not exist yet
    ]
    with (scratch / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=scratch)
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@asynccontextmanager
async def api(address: str) -> AsyncIterator[Api]:
    """Yield the way to a server, once it answers."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(address, headers=headers, connector=connector) as session:
        deadline = time.monotonic() + UP_S
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get("/readyz") as reply:
                    if reply.status == 200:
                        break
            assert time.monotonic() < deadline, "the API server never became ready"
            await asyncio.sleep(0.2)
        yield Api(session)


if __name__ == "__main__":
    try:
        build()
    except MissingError as missing:
        sys.exit(str(missing))
