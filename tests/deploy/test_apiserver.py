"""What the chart renders, given to a real API server: by server-side dry-run, in a namespace that
takes restricted pods only.

Kinds that are not Kubernetes' own (PodMonitor, ServiceMonitor, PrometheusRule, ScaledObject,
TriggerAuthentication, ExternalSecret, HTTPRoute, CiliumNetworkPolicy) are defined by their
operators' own definitions, see `operator_kinds.py`. No operator runs: what one checks in a webhook,
such as the expressions of a PrometheusRule, is not part of a definition.
"""

import copy
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import matrix
import operator_kinds
import pytest
import yaml
from chart_tools import MissingError
from kube_api import NAMESPACE, TOKEN, Answer, Api, api, running
from rendering import CHART, EXAMPLES, MINIMAL, helm, one, refusal, render, run_tool

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1500)]

RESTRICTED = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {
        "name": NAMESPACE,
        "labels": {
            f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")
        },
    },
}
PRIORITY = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "high"},
    "value": 1000,
}
"""What the example production.yaml names."""


FORBIDDEN: dict[str, tuple[Callable[[Any], object], str]] = {
    "PodMonitor": (
        lambda spec: spec["podMetricsEndpoints"][0].update(intervall="15s"),
        'unknown field "spec.podMetricsEndpoints[0].intervall"',
    ),
    "ServiceMonitor": (
        lambda spec: spec["endpoints"][0].update(interval="15 seconds"),
        "spec.endpoints[0].interval",
    ),
    "PrometheusRule": (
        lambda spec: spec["groups"][0]["rules"][0].pop("expr"),
        "spec.groups[0].rules[0].expr: Required value",
    ),
    "ScaledObject": (
        lambda spec: spec["triggers"][0]["metadata"].update(lagThreshold=10),
        "spec.triggers[0].metadata.lagThreshold",
    ),
    "TriggerAuthentication": (
        lambda spec: spec["secretTargetRef"][0].pop("parameter"),
        "spec.secretTargetRef[0].parameter: Required value",
    ),
    "ExternalSecret": (
        lambda spec: spec["secretStoreRef"].update(kind="Vault"),
        'spec.secretStoreRef.kind: Unsupported value: "Vault"',
    ),
    "HTTPRoute": (
        lambda spec: spec["rules"][0]["backendRefs"][0].pop("port"),
        "Must have port for Service reference",
    ),
    "CiliumNetworkPolicy": (
        lambda spec: spec["egress"][0]["toPorts"][0]["ports"][0].update(protocol="QUIC"),
        'protocol: Unsupported value: "QUIC"',
    ),
}
"""For each kind a change of its `spec`, and what the server says to it."""


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("kubernetes")) as address:
        yield address


@pytest.fixture
async def server(address: str) -> AsyncIterator[Api]:
    """The server with our namespace, and with the kinds of others."""
    async with api(address) as found:
        answer = await found.create(RESTRICTED, dry=False)
        if answer.status != 409:  # a test before this one made it all
            assert answer.status == 201, answer.message
            made = await found.create(PRIORITY, dry=False)
            assert made.status == 201, made.message
            await define_the_kinds_of_others(found)
        yield found


async def define_the_kinds_of_others(server: Api) -> None:
    try:
        definitions = operator_kinds.definitions()
    except MissingError as missing:
        pytest.fail(str(missing))
    for definition in definitions.values():
        made = await server.create(definition, dry=False)
        assert made.status == 201, made.message
    for kind, definition in definitions.items():
        group, versions = definition["spec"]["group"], definition["spec"]["versions"]
        (stored,) = (version["name"] for version in versions if version["storage"])
        await server.until_known(f"{group}/{stored}", kind)


def accepted(answer: Answer, document: dict[str, Any]) -> None:
    what = f"{document['kind']}/{document['metadata']['name']}"
    assert answer.status in (200, 201), f"{what}: {answer.message}"
    assert not answer.warnings, f"{what}: {answer.warnings}"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
async def test_every_object_of_an_example_is_accepted(server, example):
    """Without a warning, also of Pod Security."""
    for document in render(values=example):
        accepted(await server.create(document), document)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
async def test_secrets_in_the_environment_are_accepted_too(server, example):
    for document in render("--set", "secrets.asFiles=false", values=example):
        accepted(await server.create(document), document)


async def test_every_two_options_of_the_values_are_accepted_together(server, tmp_path):
    """Forty values files in which each pair of options meets at least once."""
    chosen = matrix.cases(40)
    seen = {pair for case in chosen for pair in matrix.pairs(case)}
    assert seen == set(matrix.pairs_of_all())
    for number, case in enumerate(chosen):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(matrix.values_of(case)))
        for document in render(values=file):
            accepted(await server.create(document), document)


@pytest.mark.parametrize("case", matrix.refused_pairs(), ids=str)
def test_options_that_exclude_each_other_are_refused_with_a_reason(case, tmp_path):
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(matrix.values_of(case)))
    assert matrix.REFUSED in refusal(values=file)


def kept(document: dict[str, Any]) -> dict[str, Any]:
    """The object under a name of its own: it stays, and the other tests only try theirs."""
    document["metadata"]["name"] = "kept"
    return document


async def test_an_upgrade_may_change_what_it_changes(server):
    """Selectors, names and management of a StatefulSet stay: the server refuses others."""
    before = kept(one("StatefulSet", render()))
    made = await server.create(before, dry=False)
    assert made.status == 201, made.message
    flags = "image.tag=9.9.9,commonLabels.team=a,podLabels.tier=b,secrets.asFiles=false,"
    flags += "autoscaling.enabled=true,minReadySeconds=20,shutdown.marginSeconds=30"
    after = kept(one("StatefulSet", render("--set", flags)))
    accepted(await server.replace(after), before)
    other = copy.deepcopy(before)
    for labels in (
        other["spec"]["selector"]["matchLabels"],
        other["spec"]["template"]["metadata"]["labels"],
    ):
        labels["app.kubernetes.io/component"] = "another"
    refused = await server.replace(other)
    assert (refused.status, "Forbidden" in refused.message) == (422, True)


class Releases:
    """Helm and kubectl, in the namespace of a real server.

    Its build has no version, so the chart is installed without the one that it asks for.
    """

    def __init__(self, address: str, scratch: Path) -> None:
        self._chart = scratch / "chart"
        shutil.copytree(CHART, self._chart)
        about = yaml.safe_load((CHART / "Chart.yaml").read_text())
        del about["kubeVersion"]
        (self._chart / "Chart.yaml").write_text(yaml.safe_dump(about))
        self._helm = (
            *("--namespace", NAMESPACE, "--kube-apiserver", address, "--kube-token", TOKEN),
            "--kube-insecure-skip-tls-verify",
        )
        self._kubectl = f"kubectl --server={address} --token={TOKEN} --insecure-skip-tls-verify"
        self._kubectl += f" --namespace={NAMESPACE}"

    def helm(self, verb: str, name: str, *flags: str) -> "subprocess.CompletedProcess[str]":
        values = ("--values", str(MINIMAL), "--no-hooks", *self._helm)
        return helm(verb, name, str(self._chart), *values, *flags)

    def uninstall(self, name: str) -> None:
        helm("uninstall", name, "--no-hooks", "--ignore-not-found", *self._helm)

    def shell(self, line: str) -> str:
        """Run a line of a document."""
        line = re.sub(r"\bkubectl\b(?! set env)", self._kubectl, line)
        done = run_tool("sh", "-ec", line)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def releases(server: Api, address: str, tmp_path: Path) -> Iterator[Releases]:
    assert server  # it has made the namespace
    found = Releases(address, tmp_path)
    yield found
    for name in ("wootric", "wootric-eu"):
        found.uninstall(name)


async def test_two_releases_of_a_namespace_do_not_share_a_group_or_a_ledger(releases):
    """The second is refused before anything of it runs, and helm names what they would share."""
    first = releases.helm("install", "wootric")
    assert first.returncode == 0, first.stderr
    for settings, shared in (
        ("kafka.topic=segment.eu,kafka.groupId=wootric-wootric-destination", "wootric-group-"),
        ("kafka.groupId=wootric-eu", "wootric-ledger-segment-events-wootric-ledger"),
    ):
        second = releases.helm("install", "wootric-eu", "--set", settings)
        assert second.returncode != 0
        assert shared in second.stderr
        assert "wootric" in second.stderr
    second = releases.helm("install", "wootric-eu", "--set", "kafka.topic=segment.eu")
    assert second.returncode == 0, second.stderr
    again = releases.helm("upgrade", "wootric", "--set", "replicaCount=2")
    assert again.returncode == 0, again.stderr


async def test_another_kind_of_state_is_refused_with_the_way_out(releases):
    """Where Kubernetes would refuse it, after the hooks and without a word of what to do."""
    installed = releases.helm("install", "wootric")
    assert installed.returncode == 0, installed.stderr
    assert releases.helm("upgrade", "wootric", "--set", "state.kind=emptyDir").returncode == 0
    refused = releases.helm("upgrade", "wootric", "--set", "state.kind=volume")
    assert refused.returncode != 0
    (command,) = re.findall(r"`(kubectl [^`]*)`", refused.stderr.replace("\n", " "))
    releases.shell(f"{command} --wait=false")
    # What the garbage collector does, which is no part of an API server.
    workers = "statefulset wootric-wootric-destination"
    releases.shell(f'kubectl patch {workers} -p \'{{"metadata":{{"finalizers":null}}}}\'')
    changed = releases.helm("upgrade", "wootric", "--set", "state.kind=volume")
    assert changed.returncode == 0, changed.stderr


async def test_the_claims_have_all_that_the_server_adds(server):
    """Argo CD compares them field by field, and would show the release as changed for ever."""
    workers = one("StatefulSet", render("--set", "state.kind=volume"))
    (ours,) = workers["spec"]["volumeClaimTemplates"]
    answer = await server.create(workers)
    (theirs,) = answer.body["spec"]["volumeClaimTemplates"]
    assert theirs.pop("status") == {"phase": "Pending"}
    theirs["metadata"].pop("creationTimestamp", None)
    assert theirs == ours


async def test_the_lines_of_the_toolboxs_page_make_its_jobs(releases):
    installed = releases.helm("install", "wootric", "--set", "toolbox.enabled=true")
    assert installed.returncode == 0, installed.stderr
    text = (CHART.parents[1] / "docs" / "how-to" / "operate" / "toolbox.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("kubectl create job")]
    found = {}
    for line in lines:
        releases.shell(line)
        name = line.split()[3]
        job = json.loads(releases.shell(f"kubectl get job {name} -o json"))
        found[name] = arguments(job["spec"]["template"]["spec"]["containers"][0])
    assert found == {
        "ledger-1": ["offsets", "reset", "--accept-ledger-loss", "--yes"],
        "reset-1": ["offsets", "reset", "--to-time", "2026-03-02T00:00:00Z", "--yes"],
        "erase-1": ["erase", "--user", "7", "--yes"],
    }


def arguments(container: dict[str, Any]) -> list[str]:
    """Return them as Kubernetes passes them: with the values of the environment."""
    given = {f"$({one['name']})": one.get("value") for one in container["env"]}
    return [given.get(argument, argument) for argument in container["args"]]


async def test_what_is_wrong_is_refused(server):
    """So that acceptance says something: typos, wrong values, a pod that is not restricted."""
    typo = copy.deepcopy(one("Service", render()))
    typo["spec"]["clusterIp"] = "None"
    assert 'unknown field "spec.clusterIp"' in (await server.create(typo)).message
    wrong = copy.deepcopy(one("PodDisruptionBudget", render()))
    wrong["spec"]["maxUnavailable"] = "-1"
    assert (await server.create(wrong)).status == 422
    unrestricted = render("--set", "securityContext.allowPrivilegeEscalation=true")
    pod = await server.create(one("Pod", unrestricted))
    assert (pod.status, "allowPrivilegeEscalation" in pod.message) == (403, True)
    workers = copy.deepcopy(one("StatefulSet", unrestricted))
    workers["metadata"]["name"] = "other"
    warned = await server.create(workers)
    assert any("allowPrivilegeEscalation" in text for text in warned.warnings)
    assert MINIMAL in EXAMPLES


@pytest.mark.parametrize("kind", operator_kinds.FILES)
async def test_a_field_that_an_operator_does_not_know_is_refused(server, kind):
    wrong = example_of(kind)
    wrong["spec"]["fieldOfTests"] = "a"
    assert 'unknown field "spec.fieldOfTests"' in (await server.create(wrong)).message


@pytest.mark.parametrize("kind", FORBIDDEN)
async def test_what_an_operators_definition_forbids_is_refused(server, kind):
    """So that acceptance says something about each of them."""
    wrong, (change, said) = example_of(kind), FORBIDDEN[kind]
    change(wrong["spec"])
    answer = await server.create(wrong)
    assert answer.status in (400, 422)
    assert said in answer.message


def example_of(kind: str) -> dict[str, Any]:
    """Return an object of a kind, as the first example renders it that has one."""
    found = (one for path in EXAMPLES for one in render(values=path) if one["kind"] == kind)
    return copy.deepcopy(next(found))
