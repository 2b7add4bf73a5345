"""What each component of the chart has of its own: login, network, pod settings, services."""

import json
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from chart_tools import path
from rendering import CHART, EXAMPLES, environment, helm, one, pods, refusal, render, run_tool

from sink.wootric.auth import region_url
from stream.settings import PIXEL_URL
from stream.telemetry.metrics import Metrics

PRODUCTION = CHART / "examples" / "production.yaml"
BRIDGE_ON = "bridge.enabled=true,bridge.existingSecret=segment-webhook"
LOGIN = (
    "{0}.kafka.sasl.mechanism=PLAIN,{0}.kafka.sasl.existingSecret={0}-login,"
    "{0}.kafka.bootstrapServers={0}:9093"
)


JOBS = ("-offsets-reset", "-accept-ledger-loss", "-erase")
TOOLS = ("-toolbox", *JOBS)

# Logins


def test_each_component_may_have_a_login_of_its_own():
    sections = ("worker", "bridge", "lagExporter", "topics", "toolbox")
    documents = render(
        *("--set", f"{BRIDGE_ON},lagExporter.enabled=true,toolbox.enabled=true"),
        *(part for name in sections for part in ("--set", LOGIN.format(name))),
    )
    found = {}
    for name, pod in pods(documents).items():
        (login,) = (one for one in pod["volumes"] if one["name"] == "kafka-login")
        brokers = environment(pod)["KAFKA__BOOTSTRAP_SERVERS"]
        assert f"{brokers.removesuffix(':9093')}-login" == login["secret"]["secretName"]
        assert json.loads(environment(pod)["KAFKA__PROPERTIES"])["sasl.mechanism"] == "PLAIN"
        found[name.removeprefix("StatefulSet/").removeprefix("Deployment/")] = brokers
    assert {name.rpartition("destination")[2]: brokers for name, brokers in found.items()} == {
        "": "worker:9093",
        "-bridge": "bridge:9093",
        "-lag-exporter": "lagExporter:9093",
        "-topics": "topics:9093",
        **dict.fromkeys(TOOLS, "toolbox:9093"),
        "-preflight": "worker:9093",
        "-preflight-bridge": "bridge:9093",
        "-test-topics": "worker:9093",
    }


def test_what_a_component_does_not_set_is_that_of_all():
    values = CHART / "examples" / "tls-sasl.yaml"
    documents = render(
        *("--set", f"{BRIDGE_ON},bridge.kafka.sasl.existingSecret=of-the-bridge"), values=values
    )
    given = environment(pods(documents)["Deployment/rel-wootric-destination-bridge"])
    assert (
        given["KAFKA__PROPERTIES"]
        == environment(pods(documents)["StatefulSet/rel-wootric-destination"])["KAFKA__PROPERTIES"]
    )
    volumes = json.dumps(pods(documents)["Deployment/rel-wootric-destination-bridge"]["volumes"])
    assert "of-the-bridge" in volumes
    assert "kafka-wootric-destination" not in volumes


def test_a_component_may_be_without_what_all_others_have():
    values = CHART / "examples" / "tls-sasl.yaml"
    off = "topics.kafka.tls.enabled=false,topics.kafka.sasl.mechanism="
    for binary in ("helm", "helm3"):
        documents = render("--set", off, values=values, binary=binary)
        pod = pods(documents)["Job/rel-wootric-destination-topics"]
        assert json.loads(environment(pod)["KAFKA__PROPERTIES"]).keys() == {
            "ssl.endpoint.identification.algorithm"
        }
        assert {volume["name"] for volume in pod["volumes"]} == {"tmp"}


def test_a_login_is_checked_where_it_is_set():
    said = refusal("--set", "bridge.kafka.sasl.mechanism=PLAIN")
    assert "bridge.kafka.sasl.existingSecret is required" in said
    assert "groupId" in refusal("--set", "bridge.kafka.groupId=x")


def test_keda_logs_in_as_the_lag_exporter():
    documents = render(
        *("--set", "autoscaling.enabled=true,autoscaling.type=keda"),
        *("--set", LOGIN.format("lagExporter")),
    )
    (trigger,) = one("ScaledObject", documents)["spec"]["triggers"]
    assert trigger["metadata"]["bootstrapServers"] == "lagExporter:9093"
    login = one("TriggerAuthentication", documents)["spec"]["secretTargetRef"]
    assert {target["name"] for target in login} == {"lagExporter-login"}


# Network


@pytest.mark.parametrize("kind", ["ClusterIP", "LoadBalancer", "NodePort"])
def test_the_bridges_public_service_has_the_webhook_and_nothing_else(kind):
    documents = render("--set", f"{BRIDGE_ON},bridge.service.type={kind}")
    public = one("Service", documents, "-bridge")["spec"]
    assert public["type"] == kind
    assert [port["name"] for port in public["ports"]] == ["http"]
    metrics = one("Service", documents, "-bridge-metrics")["spec"]
    assert metrics["type"] == "ClusterIP"
    assert [port["name"] for port in metrics["ports"]] == ["http-metrics"]
    assert metrics["selector"] == public["selector"]


WORKLOADS = {"StatefulSet", "Deployment", "Job", "CronJob", "Pod"}


def template_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the template of a workload's pods; a pod is its own."""
    spec = document["spec"]
    return dict(spec.get("jobTemplate", {}).get("spec", spec).get("template", document))


def policies(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the network policies by the component that they are for."""
    found = {}
    for document in documents:
        if document["kind"] == "NetworkPolicy":
            labels = document["spec"]["podSelector"]["matchLabels"]
            component = labels["app.kubernetes.io/component"]
            assert component not in found
            found[component] = document
    return found


def egress(policy: dict[str, Any]) -> set[int]:
    """Return the TCP ports that it allows."""
    return {
        port["port"]
        for rule in policy["spec"]["egress"]
        for port in rule["ports"]
        if port["protocol"] == "TCP"
    }


def test_every_pod_has_a_network_policy_before_it_runs():
    """Of a hook too: where everything is denied by default, an install would end there."""
    for example in EXAMPLES:
        documents = render(
            "--set", "networkPolicy.enabled=true,toolbox.enabled=true", values=example
        )
        found = policies(documents)
        for document in documents:
            if document["kind"] not in WORKLOADS:
                continue
            labels = template_of(document)["metadata"]["labels"]
            policy = found[labels["app.kubernetes.io/component"]]
            assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
            hooks = [
                one["metadata"].get("annotations", {}).get("helm.sh/hook", "")
                for one in (policy, document)
            ]
            assert hooks[0] == hooks[1]


def test_a_policy_lets_through_what_the_settings_name():
    documents = render(
        *("--set", f"{BRIDGE_ON},lagExporter.enabled=true,networkPolicy.enabled=true"),
        *("--set", "kafka.bootstrapServers=a:9098\\,b:9198,networkPolicy.kafkaPorts=null"),
        *("--set", "settings.SCHEMA_REGISTRY__URL=http://registry:8081/apis/ccompat/v7"),
        *("--set", "settings.WOOTRIC__API_URL=https://wootric.example:8443"),
        *("--set", "worker.extraEnv[0].name=OTEL_EXPORTER_OTLP_ENDPOINT"),
        *("--set", "worker.extraEnv[0].value=http://collector:4318"),
        *("--set", "extraEnv[0].name=HTTPS_PROXY"),
        *("--set", "extraEnv[0].value=http://somebody:secret@proxy.example:3128"),
        *("--set", "bridge.kafka.bootstrapServers=c:9298"),
    )
    found = {name: egress(policy) - {53, 3128} for name, policy in policies(documents).items()}
    assert all(3128 in egress(policy) for policy in policies(documents).values())
    assert found == {
        "worker": {9098, 9198, 8443, 443, 8081, 4318},
        "bridge": {9298, 8081},
        "lag-exporter": {9098, 9198},
        "topics": {9098, 9198},
        "preflight": {9098, 9198, 8443, 443, 8081},
        "preflight-bridge": {9298, 8081},
        "test": {9098, 9198},
    }


def test_with_cilium_wootric_is_reached_by_name_only():
    documents = render("--set", "networkPolicy.enabled=true,networkPolicy.flavor=cilium")
    assert 443 not in egress(policies(documents)["worker"])
    (worker, preflight) = (one for one in documents if one["kind"] == "CiliumNetworkPolicy")
    names = [rule["toFQDNs"][0]["matchName"] for rule in worker["spec"]["egress"][1:]]
    urls = [region_url(token) for token in ("NPS-0a", "NPS-EU-0a", "NPS-AU-0a")]
    assert names == [urlsplit(url).hostname for url in (*urls, PIXEL_URL)]
    assert worker["spec"]["egress"] == preflight["spec"]["egress"]
    assert "helm.sh/hook" in preflight["metadata"]["annotations"]


# Pods


COMPONENTS = ("worker", "bridge", "lagExporter", "hooks", "toolbox")


def test_each_component_may_have_pod_settings_of_its_own():
    flags = [f"{BRIDGE_ON},podLabels.all=a,priorityClassName=low"]
    flags += ["lagExporter.enabled=true,toolbox.enabled=true,toolbox.jobs=null"]
    for name in COMPONENTS:
        flags += [
            f"{name}.podLabels.own={name},{name}.podAnnotations.own={name}",
            f"{name}.nodeSelector.pool={name},{name}.priorityClassName=p-{name.lower()}",
            f"{name}.tolerations[0].key={name},{name}.affinity.nodeAffinity.own={name}",
            f"{name}.extraEnv[0].name=OWN,{name}.extraEnv[0].value={name}",
            f"{name}.initContainers[0].name=i-{name.lower()},{name}.extraContainers[0].name=side",
            f"{name}.serviceAccountName=sa-{name.lower()},{name}.annotations.own={name}",
        ]
    documents = render(*(part for flag in flags for part in ("--set", flag)))
    sections = {
        "worker": "worker",
        "bridge": "bridge",
        "lag-exporter": "lagExporter",
        "toolbox": "toolbox",
        **dict.fromkeys(("topics", "preflight", "preflight-bridge", "test"), "hooks"),
    }
    seen = set()
    for document in documents:
        if document["kind"] not in WORKLOADS:
            continue
        template = template_of(document)
        labels, pod = template["metadata"]["labels"], template["spec"]
        name = sections[labels["app.kubernetes.io/component"]]
        assert (labels["own"], labels["all"]) == (name, "a")
        assert template["metadata"]["annotations"]["own"] == name
        assert document["metadata"]["annotations"]["own"] == name
        assert pod["nodeSelector"] == {"pool": name}
        assert pod["priorityClassName"] == f"p-{name.lower()}"
        assert pod["serviceAccountName"] == f"sa-{name.lower()}"
        assert pod["tolerations"] == [{"key": name}]
        assert pod["affinity"] == {"nodeAffinity": {"own": name}}
        assert [one["name"] for one in pod["initContainers"]] == [f"i-{name.lower()}"]
        container, beside = pod["containers"]
        assert {"name": "OWN", "value": name} in container["env"]
        assert beside["name"] == "side"
        seen.add(name)
    assert seen == set(COMPONENTS)


def test_an_upgrade_of_the_chart_alone_replaces_no_pod(tmp_path: Path):
    """No version is in a pod's template, nor in a claim's, which may never change."""
    newer = tmp_path / "chart"
    shutil.copytree(CHART, newer)
    about = yaml.safe_load((newer / "Chart.yaml").read_text())
    about |= {"version": "9.9.9", "appVersion": "9.9.9"}
    (newer / "Chart.yaml").write_text(yaml.safe_dump(about))
    for example in (PRODUCTION, CHART / "examples" / "trial.yaml"):
        flags = ("--values", str(example), "--set", f"{BRIDGE_ON},image.tag=0.1.0")
        before, after = (
            list(filter(None, yaml.safe_load_all(helm("template", "rel", *flags, chart).stdout)))
            for chart in (str(CHART), str(newer))
        )
        assert before != after
        for kind in ("StatefulSet", "Deployment"):
            specs = [
                [document["spec"] for document in documents if document["kind"] == kind]
                for documents in (before, after)
            ]
            assert specs[0] == specs[1]
            assert specs[0]


def test_on_openshift_the_namespace_chooses_the_ids():
    openshift = ("--api-versions", "security.openshift.io/v1")
    adapt = "global.compatibility.openshift.adaptSecurityContext"
    for flags, adapted in (
        ((), False),
        (openshift, True),
        (("--set", f"{adapt}=force"), True),
        ((*openshift, "--set", f"{adapt}=disabled"), False),
    ):
        for pod in pods(render(*flags)).values():
            ids = pod["securityContext"].keys() & {"runAsUser", "runAsGroup", "fsGroup"}
            assert bool(ids) is not adapted
            assert pod["securityContext"]["runAsNonRoot"] is True


def test_hooks_run_as_an_account_that_exists_already():
    def accounts(*flags: str) -> set[str | None]:
        documents = render(*flags)
        found = pods(documents)
        return {pod.get("serviceAccountName") for name, pod in found.items() if "Job/" in name}

    assert accounts() == {None}
    existing = "serviceAccount.create=false,serviceAccount.name=irsa"
    assert accounts("--set", existing) == {"irsa"}
    assert accounts("--set", f"{existing},hooks.serviceAccountName=other") == {"other"}


def test_further_secrets_are_there_before_the_jobs():
    """And stay when the object that fills them is replaced."""
    documents = render(values=CHART / "examples" / "external-secrets.yaml")
    login = one("ExternalSecret", documents, "kafka-wootric-destination")
    annotations = login["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(annotations["helm.sh/hook-weight"]) < -10
    assert login["spec"]["target"] == {
        "name": "kafka-wootric-destination",
        "creationPolicy": "Orphan",
        "deletionPolicy": "Retain",
    }
    assert [one["secretKey"] for one in login["spec"]["data"]] == ["username", "password"]


def test_all_objects_may_be_in_another_namespace():
    documents = render("--set", f"{BRIDGE_ON},namespaceOverride=elsewhere")
    assert {document["metadata"]["namespace"] for document in documents} == {"elsewhere"}


def test_settings_of_all_pods_reach_all():
    documents = render(
        *("--set", f"{BRIDGE_ON},global.imageRegistry=mirror.example.com,image.registry=other"),
        *("--set", "dnsPolicy=None,dnsConfig.nameservers={10.0.0.10}"),
        *("--set", "hostAliases[0].ip=10.0.0.1,hostAliases[0].hostnames={kafka}"),
        *("--set", "global.imagePullSecrets[0].name=a,imagePullSecrets[0].name=b"),
    )
    for pod in pods(documents).values():
        assert pod["dnsPolicy"] == "None"
        assert pod["dnsConfig"] == {"nameservers": ["10.0.0.10"]}
        assert pod["hostAliases"] == [{"ip": "10.0.0.1", "hostnames": ["kafka"]}]
        assert pod["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]
        assert pod["containers"][0]["image"].startswith("mirror.example.com/wootric-stream:")


# Other options


def test_services_may_be_of_both_address_families():
    documents = render(
        *("--set", f"{BRIDGE_ON},lagExporter.enabled=true"),
        *("--set", "service.ipFamilyPolicy=PreferDualStack,service.ipFamilies={IPv6,IPv4}"),
    )
    services = [document["spec"] for document in documents if document["kind"] == "Service"]
    assert len(services) == 4
    for spec in services:
        assert spec["ipFamilyPolicy"] == "PreferDualStack"
        assert spec["ipFamilies"] == ["IPv6", "IPv4"]


def test_a_bridge_from_a_topic_has_no_webhook():
    """Its pods are members of a group by their names, as workers are."""
    documents = render(
        "--set", "bridge.enabled=true,bridge.fromTopic=segment.raw,networkPolicy.enabled=true"
    )
    pod = one("StatefulSet", documents, "-bridge")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["bridge", "--from-topic", "segment.raw"]
    assert [port["name"] for port in container["ports"]] == ["http-metrics"]
    assert "BRIDGE__SHARED_SECRET_FILE" not in environment(pod)
    assert environment(pod)["KAFKA__INSTANCE_ID"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert "rel-wootric-destination-bridge" not in {
        document["metadata"]["name"] for document in documents if document["kind"] == "Service"
    }
    assert not any(name.endswith("preflight-bridge") for name in pods(documents))
    assert "another topic" in refusal(
        "--set", "bridge.enabled=true,bridge.fromTopic=segment.events"
    )


def test_a_budget_by_the_least_that_must_be_there():
    budget = one("PodDisruptionBudget", render("--set", "pdb.minAvailable=50%"))["spec"]
    assert (budget["minAvailable"], "maxUnavailable" in budget) == ("50%", False)


def test_an_account_token_of_another_form_is_refused():
    """With a wrong one, page views vanish without an error."""
    said = refusal("--set", "wootric.accountToken=garbage")
    assert "accountToken" in said
    assert "match" in said
    schema = json.loads((CHART / "values.schema.json").read_text())
    pattern = schema["properties"]["wootric"]["properties"]["accountToken"]["pattern"]
    for token in ("NPS-", "nps-0a1b", "NPS-US-0a1b", "NPS-0a1b2c3d-extra"):
        assert not re.search(pattern, token), token
    for token in ("", "NPS-0a1b2c3d", "NPS-EU-0a1b2c3d"):
        assert re.search(pattern, token), token


def test_keda_may_be_told_to_add_no_workers_while_wootric_limits(tmp_path: Path):
    """By queries that Prometheus understands, of metrics that exist."""
    documents = render(
        *("--set", "autoscaling.enabled=true,autoscaling.type=keda"),
        *("--set", "autoscaling.keda.prometheusAddress=http://prometheus:9090"),
        *("--set-string", "autoscaling.keda.annotations.autoscaling\\.keda\\.sh/paused=true"),
    )
    scaled = one("ScaledObject", documents)
    assert scaled["metadata"]["annotations"] == {"autoscaling.keda.sh/paused": "true"}
    formula = scaled["spec"]["advanced"]["scalingModifiers"]["formula"]
    named = {trigger["name"] for trigger in scaled["spec"]["triggers"]}
    assert named == {"lag", "limited", "workers"} == set(re.findall(r"[a-z]+", formula)) - {"min"}
    queries = [
        trigger["metadata"]["query"]
        for trigger in scaled["spec"]["triggers"]
        if trigger["type"] == "prometheus"
    ]
    rules = [{"record": f"a:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    checked = run_tool(path("promtool"), "check", "rules", str(file))
    assert checked.returncode == 0, checked.stderr
    known = {family.name for family in Metrics().registry.collect()}
    asked = set(re.findall(r"wootric_\w+", " ".join(queries)))
    assert {name.removesuffix("_total") for name in asked} <= known


def test_monitors_pass_on_what_prometheus_takes():
    for kind in ("podMonitor", "serviceMonitor"):
        (endpoints,) = (
            document["spec"].get("endpoints") or document["spec"]["podMetricsEndpoints"]
            for document in render(
                *("--set", f"metrics.{kind}.enabled=true,metrics.{kind}.scrapeTimeout=10s"),
                *("--set", f"metrics.{kind}.relabelings[0].targetLabel=cluster"),
                *("--set", f"metrics.{kind}.metricRelabelings[0].action=drop"),
            )
            if document["kind"].lower() == kind.lower()
        )
        assert endpoints == [
            {
                "port": "http-metrics",
                "path": "/metrics",
                "interval": "15s",
                "scrapeTimeout": "10s",
                "relabelings": [{"targetLabel": "cluster"}],
                "metricRelabelings": [{"action": "drop"}],
            }
        ]


def test_a_bearer_token_is_known_to_who_serves_and_to_who_scrapes():
    for kind in ("podMonitor", "serviceMonitor"):
        documents = render(
            *("--set", f"{BRIDGE_ON},lagExporter.enabled=true,metrics.{kind}.enabled=true"),
            *("--set", "metrics.bearerToken.existingSecret=scrapes"),
        )
        (monitor,) = (one for one in documents if one["kind"].lower() == kind.lower())
        (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["authorization"] == {
            "type": "Bearer",
            "credentials": {"name": "scrapes", "key": "token"},
        }
        for name, pod in pods(documents).items():
            given = environment(pod).get("HTTP__BEARER_TOKEN_FILE")
            serves = name.startswith(("StatefulSet/", "Deployment/"))
            assert (given == "/etc/wootric-stream/metrics/token") is serves, name


def test_the_toolbox_has_memory_and_wootrics_credentials_only_on_request():
    for asked, credentials in (("false", set()), ("true", {"WOOTRIC__CLIENT_SECRET_FILE"})):
        documents = render("--set", f"toolbox.enabled=true,toolbox.wootricCredentials={asked}")
        found = {name: pod for name, pod in pods(documents).items() if name.endswith(TOOLS)}
        assert len(found) == 4
        for pod in found.values():
            assert pod["containers"][0]["resources"]["limits"] == {"memory": "2Gi"}
            assert environment(pod).keys() & {"WOOTRIC__CLIENT_SECRET_FILE"} == credentials


def test_a_job_of_the_toolbox_runs_only_when_it_is_called():
    documents = render(
        "--set", "toolbox.enabled=true,toolbox.jobs.erase=null,toolbox.jobs.mine={verify,--json}"
    )
    jobs = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "CronJob"}
    assert all(spec["suspend"] for spec in jobs.values())
    assert {name.removeprefix("rel-wootric-destination-") for name in jobs} == {
        "offsets-reset",
        "accept-ledger-loss",
        "mine",
    }
    (container,) = jobs["rel-wootric-destination-mine"]["jobTemplate"]["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["args"] == ["verify", "--json"]


@pytest.mark.parametrize("length", [10, 50, 60])
def test_a_name_of_a_job_is_as_long_as_kubernetes_takes(length):
    documents = render("--set", f"toolbox.enabled=true,fullnameOverride={'n' * length}")
    names = [one["metadata"]["name"] for one in documents if one["kind"] == "CronJob"]
    assert len(set(names)) == len(JOBS)
    assert all(len(name) <= 52 for name in names)


def test_releases_have_groups_of_their_own():
    def group(*flags: str) -> str:
        pod = one("StatefulSet", render(*flags))["spec"]["template"]["spec"]
        return str(environment(pod)["KAFKA__GROUP_ID"])

    assert group() == "rel-wootric-destination"
    assert group("--set", "fullnameOverride=eu") == "eu"
    assert group("--set", "kafka.groupId=of-my-own") == "of-my-own"
