"""What the chart renders, given to a real API server: by server-side dry-run, in a namespace that
takes restricted pods only.

Kinds that are not Kubernetes' own (PodMonitor, ServiceMonitor, PrometheusRule, ScaledObject,
TriggerAuthentication, ExternalSecret, HTTPRoute) are defined by the fields that the chart uses,
`tests/chart/crds.json`: an unknown field is refused, but their operators' own rules are not known.
"""

import copy
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from kube_api import NAMESPACE, Answer, Api, api, definition, running
from rendering import EXAMPLES, MINIMAL, one, render
from test_render import CRDS

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
    kinds = {
        (*document["apiVersion"].split("/"), document["kind"])
        for example in EXAMPLES
        for document in render(values=example)
        if document["kind"] in CRDS
    }
    assert len(kinds) == len(CRDS)
    for group, version, kind in kinds:
        made = await server.create(definition(group, version, kind, CRDS[kind]), dry=False)
        assert made.status == 201, made.message
    for group, version, kind in kinds:
        await server.until_known(f"{group}/{version}", kind)


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
    monitor = copy.deepcopy(one("PodMonitor", render("--set", "metrics.podMonitor.enabled=true")))
    monitor["spec"]["podMetricsEndpoints"][0]["intervall"] = "15s"
    assert "unknown field" in (await server.create(monitor)).message
    assert MINIMAL in EXAMPLES
