"""What the chart renders: valid for Kubernetes, restricted, and what it says about itself."""

import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kubernetes_validate
import kubernetes_validate.utils
import pytest
import typer
import yaml
from jsonschema import Draft202012Validator
from rendering import CHART, EXAMPLES, MINIMAL, environment, helm, one, pods, refusal, render

from stream import __version__
from stream.cli import app as cli
from stream.runtime.worker import processor_config
from stream.settings_loader import Settings, names, variables

ROOT = Path(__file__).parents[2]
VERSIONS = ("1.30", "1.32", "1.34", "1.36", "1.37")
CRDS = json.loads((Path(__file__).parent / "crds.json").read_text())
NO_OF_EXAMPLES = 10

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


@every_example
@pytest.mark.parametrize("binary", ["helm", "helm3"])
def test_an_example_is_linted_without_a_word(example, binary):
    result = helm(
        "lint", "--strict", "--quiet", str(CHART), "--values", str(example), binary=binary
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stdout.strip()


@pytest.fixture(scope="module")
def schemas_read_once() -> Iterator[None]:
    """The library reads a megabyte of them again for each document."""
    utils = kubernetes_validate.utils
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


@every_example
@pytest.mark.usefixtures("schemas_read_once")
def test_what_is_rendered_is_what_kubernetes_expects(example):
    """Own kinds by the schemas of five versions, others by the fields that we use."""
    for document in render(values=example):
        if document["kind"] in CRDS:
            Draft202012Validator(CRDS[document["kind"]]).validate(document["spec"])
            continue
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)


def test_the_same_is_rendered_for_every_version_of_kubernetes():
    """No template asks which one it is, and older ones than the schemas' are refused."""
    assert not [path for path in (CHART / "templates").rglob("*") if asks_for_the_version(path)]
    for version in VERSIONS:
        assert render("--kube-version", version) == render()
    assert "1.30" in refusal("--kube-version", "1.29")


def asks_for_the_version(path: Path) -> bool:
    return path.is_file() and ".Capabilities.KubeVersion" in path.read_text()


def test_both_helms_render_the_same():
    assert render(binary="helm") == render(binary="helm3")


def test_the_examples_render_every_template():
    """A template that no example renders would be tested by nobody."""
    kinds = {(d["apiVersion"], d["kind"]) for example in EXAMPLES for d in render(values=example)}
    assert len(EXAMPLES) >= NO_OF_EXAMPLES
    expected = (
        "StatefulSet Deployment Job Pod Service ServiceAccount Secret ExternalSecret ConfigMap"
    )
    expected += " PodDisruptionBudget HorizontalPodAutoscaler ScaledObject TriggerAuthentication"
    expected += " CronJob CiliumNetworkPolicy"
    expected += " NetworkPolicy PodMonitor ServiceMonitor PrometheusRule Ingress HTTPRoute"
    assert {kind for _, kind in kinds} == set(expected.split())


# Values that must not be


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("kafka.tpoics=x", "tpoics"),
        ("replicacount=2", "replicacount"),
        ("settings.KAFKA__TOPC=x", "KAFKA__TOPC"),
        ("settings.WOOTRIC__CLIENT_SECRET=x", "WOOTRIC__CLIENT_SECRET"),
        ("settings.KAFKA__INSTANCE_ID=x", "KAFKA__INSTANCE_ID"),
        ("settings.WOOTRIC__IN_FLIGHT_MAX=0", "WOOTRIC__IN_FLIGHT_MAX"),
        ("settings.WOOTRIC__IN_DOUBT_PAGES=drop", "WOOTRIC__IN_DOUBT_PAGES"),
        ("metrics.prometheusRule.enabled=yes please", "prometheusRule"),
        ("autoscaling.type=vpa", "type"),
        ("kafka.sasl.mechanism=plain", "mechanism"),
        ("image.digest=sha256:abc", "digest"),
        ("replicaCount=-1", "replicaCount"),
    ],
)
@pytest.mark.parametrize("binary", ["helm", "helm3"])
def test_a_typo_fails_and_is_named(setting, what, binary):
    assert what in refusal("--set", setting, binary=binary)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("kafka.bootstrapServers=", "kafka.bootstrapServers is required"),
        ("wootric.existingSecret=", "wootric.existingSecret is required"),
        ("wootric.existingSecret=,wootric.accountToken=NPS-0a", "wootric.clientId and"),
        ("terminationGracePeriodSeconds=34", "a worker may need 35 s to leave"),
        (
            "settings.WOOTRIC__REQUEST_TIMEOUT_S=60.5,terminationGracePeriodSeconds=85",
            "a worker may need 86 s to leave",
        ),
        ("autoscaling.enabled=true,autoscaling.maxReplicas=7", "the input has 6 partitions"),
        ("autoscaling.enabled=true,autoscaling.minReplicas=7", "minReplicas is above"),
        ("kafka.sasl.mechanism=PLAIN", "kafka.sasl.existingSecret is required"),
        ("kafka.tls.enabled=true,kafka.tls.certKey=a", "kafka.tls.existingSecret or kafka.tls.cl"),
        (
            "kafka.sasl.mechanism=OAUTHBEARER,kafka.sasl.existingSecret=a",
            "tokenEndpoint is required",
        ),
        (
            "settings.KAFKA__AUTH=aws_msk_iam,kafka.sasl.mechanism=PLAIN,kafka.sasl.existingSecret=a",
            "is a login of its own",
        ),
        (
            "autoscaling.enabled=true,autoscaling.type=keda,kafka.propertiesSecret.name=a",
            "KEDA cannot log in by kafka.propertiesSecret",
        ),
        ("kafka.propertiesSecret.name=a,kafka.tls.enabled=true", "propertiesSecret replaces"),
        ("bridge.enabled=true", "bridge.existingSecret is required"),
        (
            "metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true",
            "scrape everything twice",
        ),
        ("externalSecrets.enabled=true", "externalSecrets.storeRef.name"),
    ],
)
def test_values_that_contradict_each_other_fail_and_say_why(settings, message):
    assert message in refusal("--set", settings)


# What always holds


@every_example
def test_every_pod_is_restricted(example):
    """Pod Security "restricted", and beyond: nothing can be written, no token, no old names."""
    for name, pod in pods(render(values=example)).items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        assert all("hostPath" not in volume for volume in pod["volumes"]), name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"].keys() == {"memory"}, name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name


@every_example
def test_every_pod_that_stays_is_probed(example):
    for document in render(values=example):
        if document["kind"] not in {"StatefulSet", "Deployment"}:
            continue
        if document["metadata"]["name"].endswith("-toolbox"):  # it serves nothing
            continue
        (container,) = document["spec"]["template"]["spec"]["containers"]
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] in ports


def test_workers_are_probed_where_the_service_answers():
    (container,) = one("StatefulSet", render())["spec"]["template"]["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness")}
    assert paths == {"startup": "/startupz", "liveness": "/livez"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize(
    ("request_s", "transaction_s"), [(10, 10), (2.5, 10), (60, 120), (300, 900)]
)
def test_the_grace_covers_what_draining_may_take(monkeypatch, request_s, transaction_s):
    """The service's own bound, its transaction, and room for the rest."""
    for name in names():
        monkeypatch.delenv(name, raising=False)
    values = {
        "KAFKA__BOOTSTRAP_SERVERS": "kafka:9092",
        "KAFKA__TRANSACTION_TIMEOUT_S": str(transaction_s),
        "WOOTRIC__REQUEST_TIMEOUT_S": str(request_s),
        "WOOTRIC__ACCOUNT_TOKEN": "NPS-0a1b2c3d",
        "WOOTRIC__CLIENT_ID": "a",
        "WOOTRIC__CLIENT_SECRET": "b",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    chosen = f"settings.WOOTRIC__REQUEST_TIMEOUT_S={request_s}"
    chosen += f",settings.KAFKA__TRANSACTION_TIMEOUT_S={transaction_s}"
    flag = "--set-json" if "." in str(request_s) else "--set"
    pod = one("StatefulSet", render(flag, chosen))["spec"]["template"]["spec"]
    needed = math.ceil(processor_config(Settings()).drain_wait_s) + 15
    assert pod["terminationGracePeriodSeconds"] == needed


def test_a_longer_grace_is_taken():
    pod = one("StatefulSet", render("--set", "terminationGracePeriodSeconds=120"))
    assert pod["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 120


def test_a_worker_is_known_by_its_pods_name():
    """A restart takes over its predecessor's membership and silences its transactions."""
    workers = one("StatefulSet", render())
    given = environment(workers["spec"]["template"]["spec"])["KAFKA__INSTANCE_ID"]
    assert given == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert workers["spec"]["podManagementPolicy"] == "Parallel"


@every_example
def test_selectors_survive_every_upgrade(example):
    """Kubernetes refuses a changed selector: no version, no label that a value can change."""
    changed = render(
        *("--set", "commonLabels.team=data,commonLabels.app\\.kubernetes\\.io/name=other"),
        *("--set", "podLabels.tier=back,image.tag=9.9.9"),
        values=example,
    )
    for before, after in zip(selectors(render(values=example)), selectors(changed), strict=True):
        assert before == after
    for name, selector, labels in selectors(changed):
        assert selector.items() <= labels.items(), name
        assert set(selector) == {
            f"app.kubernetes.io/{part}" for part in ("name", "instance", "component")
        }


def selectors(documents):
    return [
        (
            f"{document['kind']}/{document['metadata']['name']}",
            document["spec"]["selector"]["matchLabels"],
            Labels(document["spec"]["template"]["metadata"]["labels"]),
        )
        for document in documents
        if document["kind"] in {"StatefulSet", "Deployment"}
    ]


class Labels(dict[str, str]):
    """Labels of pods, which may change: equal to any others."""

    __hash__ = None

    def __eq__(self, _: object) -> bool:
        return True


@every_example
def test_every_setting_that_a_pod_is_given_exists(example):
    """The service stops at a name that it does not know."""
    prefixes = {name.split("__")[0] + "__" for name in names()}
    for name, pod in pods(render(values=example)).items():
        given = {key for key in environment(pod) if key.startswith(tuple(prefixes))}
        assert given - set(variables()) == set(), name


@every_example
def test_every_command_that_a_pod_runs_exists(example):
    known = commands(typer.main.get_command(cli.app))
    for name, pod in pods(render(values=example)).items():
        (container,) = pod["containers"]
        if name.endswith("-toolbox"):
            assert container["command"] == ["sleep", "infinity"]
            continue
        words = [word for word in container["args"] if word[0].isalpha()]
        assert "command" not in container, name
        assert " ".join(words) in known, name


def commands(group, path=()):
    found = set()
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found |= commands(command, (*path, name)) if inner else {" ".join((*path, name))}
    return found


def test_big_numbers_stay_whole():
    """Helm reads numbers of a file as floats, and 1e+06 is no whole number."""
    values = render(
        "--set-json", 'settings={"KAFKA__DEDUPE_WINDOW_S":1000000,"WOOTRIC__LEASE_S":7.5}'
    )
    given = environment(one("StatefulSet", values)["spec"]["template"]["spec"])
    assert given["KAFKA__DEDUPE_WINDOW_S"] == "1000000"
    assert given["WOOTRIC__LEASE_S"] == "7.5"


def test_what_kafka_needs_comes_from_values_and_secrets():
    example = CHART / "examples" / "tls-sasl.yaml"
    given = environment(one("StatefulSet", render(values=example))["spec"]["template"]["spec"])
    assert json.loads(given["KAFKA__PROPERTIES"]) == {
        "sasl.mechanism": "SCRAM-SHA-512",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "/etc/kafka-tls/ca.crt",
        "ssl.endpoint.identification.algorithm": "https",
    }
    folder = "/etc/wootric-stream/kafka-login"
    assert given["KAFKA__SASL_USERNAME_FILE"] == f"{folder}/username"
    assert given["KAFKA__SASL_PASSWORD_FILE"] == f"{folder}/password"


@every_example
def test_every_file_of_a_secret_is_mounted_where_it_is_looked_for(example):
    """As a folder, since what is mounted by subPath never changes; and nothing else of it."""
    for name, pod in pods(render(values=example)).items():
        (container,) = pod["containers"]
        mounts = {one["name"]: one for one in container["volumeMounts"]}
        assert all("subPath" not in one for one in mounts.values()), name
        looked_for = {value for key, value in environment(pod).items() if key.endswith("_FILE")}
        there = {
            f"{mounts[volume['name']]['mountPath']}/{item['path']}"
            for volume in pod["volumes"]
            for item in volume.get("secret", {}).get("items", ())
        }
        assert there == looked_for, name


@every_example
def test_secrets_can_be_in_the_environment_instead(example):
    files, plain = (
        {name: set(environment(pod)) for name, pod in pods(documents).items()}
        for documents in (
            render(values=example),
            render("--set", "secrets.asFiles=false", values=example),
        )
    )
    for name, variables_of_pod in files.items():
        assert {one.removesuffix("_FILE") for one in variables_of_pod} == plain[name]


def test_only_workers_and_the_preflight_hold_wootrics_credentials():
    for example in EXAMPLES:
        for name, pod in pods(render(values=example)).items():
            holds = any(key.startswith("WOOTRIC__CLIENT") for key in environment(pod))
            assert not holds or name.startswith("StatefulSet/") or name.endswith("-preflight"), name


def test_the_jobs_before_an_install_use_nothing_that_it_makes():
    """They run before its secret and its service account exist."""
    example = CHART / "examples" / "trial.yaml"
    for document in render(values=example):
        if document["kind"] == "Job":
            pod = document["spec"]["template"]["spec"]
            assert "serviceAccountName" not in pod
            assert not any(key.startswith("WOOTRIC__") for key in environment(pod))


def test_the_preflight_logs_in_at_wootric_where_it_can():
    def command(values):
        pod = one("Job", render(values=values), "preflight")["spec"]["template"]["spec"]
        return pod["containers"][0]["args"]

    assert command(MINIMAL) == ["doctor", "--tolerate-outages"]
    assert command(CHART / "examples" / "trial.yaml") == ["topics", "check"]


def test_the_bridge_has_a_preflight_of_its_own():
    documents = render(values=CHART / "examples" / "bridge.yaml")
    pod = one("Job", documents, "preflight-bridge")["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == ["doctor", "--bridge", "--tolerate-outages"]
    assert not any(name.startswith("WOOTRIC__") for name in environment(pod))


def test_a_new_secret_in_the_release_replaces_the_pods():
    def checksum(client_secret):
        values = CHART / "examples" / "trial.yaml"
        documents = render("--set", f"wootric.clientSecret={client_secret}", values=values)
        template = one("StatefulSet", documents)["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/secret"]

    assert checksum("a") != checksum("b")


def test_keda_is_given_strings():
    """A number is refused by its definition."""
    scaled = one("ScaledObject", render(values=CHART / "examples" / "keda.yaml"))
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["lagThreshold"] == "20000"
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_keda_logs_in_as_the_service_does():
    documents = render(values=CHART / "examples" / "oidc.yaml")
    given = environment(one("StatefulSet", documents)["spec"]["template"]["spec"])
    properties = json.loads(given["KAFKA__PROPERTIES"])
    scaled = one("ScaledObject", documents)["spec"]["triggers"][0]["metadata"]
    plain = one("Secret", documents)["stringData"]
    login = one("TriggerAuthentication", documents)["spec"]["secretTargetRef"]
    assert properties["sasl.oauthbearer.method"] == "oidc"
    assert scaled["sasl"] == properties["sasl.mechanism"].lower()
    for parameter, name in (
        ("oauthTokenEndpointUri", "token.endpoint.url"),
        ("scopes", "scope"),
        ("oauthExtensions", "extensions"),
    ):
        assert plain[parameter] == properties[f"sasl.oauthbearer.{name}"]
    assert {one["parameter"]: one["key"] for one in login} == {
        "username": "client-id",
        "password": "client-secret",
        **{name: name for name in plain},
    }


def test_keda_logs_in_to_msk_by_iam():
    documents = render(
        "--set",
        "settings.KAFKA__AUTH=aws_msk_iam,kafka.bootstrapServers=b-1.a.kafka.eu-west-1.amazonaws.com:9098",
        values=CHART / "examples" / "keda.yaml",
    )
    scaled = one("ScaledObject", documents)["spec"]["triggers"][0]["metadata"]
    wanted = {"sasl": "oauthbearer", "saslTokenProvider": "aws_msk_iam", "awsRegion": "eu-west-1"}
    assert scaled.items() >= {**wanted, "tls": "enable"}.items()
    assert one("TriggerAuthentication", documents)["spec"]["podIdentity"] == {"provider": "aws"}


def test_strimzis_secrets_are_taken_as_they_are():
    """A user's secret has no name; the authority and the client certificate are in two secrets."""
    example = CHART / "examples" / "strimzi.yaml"
    pod = one("StatefulSet", render(values=example))["spec"]["template"]["spec"]
    given = environment(pod)
    assert given["KAFKA__SASL_USERNAME"] == "wootric"
    assert "KAFKA__SASL_USERNAME_FILE" not in given
    assert given["KAFKA__SASL_PASSWORD_FILE"].endswith("/password")
    mutual = "kafka.sasl.mechanism=,kafka.tls.clientSecret=wootric,kafka.tls.certKey=user.crt"
    documents = render("--set", f"{mutual},kafka.tls.keyKey=user.key", values=example)
    pod = one("StatefulSet", documents)["spec"]["template"]["spec"]
    (volume,) = (one for one in pod["volumes"] if one["name"] == "kafka-tls")
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    assert {one["name"]: [item["path"] for item in one["items"]] for one in sources} == {
        "my-cluster-cluster-ca-cert": ["ca.crt"],
        "wootric": ["user.crt", "user.key"],
    }
    assert json.loads(environment(pod)["KAFKA__PROPERTIES"]) == {
        "security.protocol": "SSL",
        "ssl.ca.location": "/etc/kafka-tls/ca.crt",
        "ssl.certificate.location": "/etc/kafka-tls/user.crt",
        "ssl.key.location": "/etc/kafka-tls/user.key",
    }


def test_a_scaler_decides_alone_about_replicas():
    for name in ("hpa", "keda"):
        workers = one("StatefulSet", render(values=CHART / "examples" / f"{name}.yaml"))
        assert "replicas" not in workers["spec"]


def test_eviction_takes_one_pod_at_a_time_and_broken_ones_always():
    budget = one("PodDisruptionBudget", render())["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("replicaCount=7", "WARNING: 7 workers for 6 partitions"),
        ("replicaCount=1", "WARNING: one worker"),
        ("kafka.sasl.mechanism=PLAIN,kafka.sasl.existingSecret=a", "WARNING: SASL without TLS"),
        ("metrics.prometheusRule.enabled=true", "WARNING: without lagExporter.enabled=true"),
        ("nameOverride=", "WARNING: the metrics are not scraped"),
        ("shutdown.marginSeconds=40", "grace period       60 s"),
        ("secrets.asFiles=false", "secrets            environment"),
    ],
)
def test_the_notes_say_what_is_on_and_warn(settings, said):
    options = ("install", "rel", str(CHART), "--values", str(MINIMAL), "--set", settings)
    result = helm(*options, "--dry-run=client")
    assert result.returncode == 0, result.stderr
    assert said in result.stdout


def test_a_production_install_gets_no_warning():
    example = CHART / "examples" / "production.yaml"
    options = ("install", "rel", str(CHART), "--values", str(example), "--dry-run=client")
    assert "WARNING" not in helm(*options).stdout


@pytest.mark.parametrize("kind", ["memory", "emptyDir", "volume"])
def test_state_lies_where_it_is_told_to(kind):
    """Only workers have it, below one path; a claim goes with its worker."""
    settings = f"state.kind={kind},state.size=3Gi,state.storageClassName=fast"
    documents = render("--set", settings)
    worker = one("StatefulSet", documents)["spec"]
    (container,) = worker["template"]["spec"]["containers"]
    said = {entry["name"]: entry.get("value") for entry in container["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in worker["template"]["spec"]["volumes"]}
    claims = worker.get("volumeClaimTemplates", [])
    assert said.get("STATE__DIR") == mounts.get("state") == (None if kind == "memory" else "/state")
    assert volumes.get("state", {}).get("emptyDir") == (
        {"sizeLimit": "3Gi"} if kind == "emptyDir" else None
    )
    assert [claim["spec"]["storageClassName"] for claim in claims] == ["fast"] * (kind == "volume")
    others = [pod for name, pod in pods(documents).items() if "StatefulSet" not in name]
    assert others
    assert all("state" not in str(pod.get("volumes")) for pod in others)


# What is made of values.yaml


def test_the_charts_version_is_the_services():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_the_schema_and_the_readme_are_in_step_with_the_values():
    """`make chart` writes them."""
    from scripts import documents  # noqa: PLC0415

    for path, content in documents.files().items():
        assert path.read_text() == content, f"{path.name}: run `make chart`"


def test_every_value_is_described():
    from scripts.documents import descriptions  # noqa: PLC0415

    text = (CHART / "values.yaml").read_text()
    told = {path for path, _ in descriptions(text)}

    def leaves(value, path=""):
        for name, inner in value.items():
            where = f"{path}.{name}" if path else name
            if where in told or not (isinstance(inner, dict) and inner):
                yield where
            else:
                yield from leaves(inner, where)

    assert set(leaves(yaml.safe_load(text))) == told
