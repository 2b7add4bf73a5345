"""Values files in which every two options meet at least once."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from random import Random
from typing import Any, TypeAlias

Values: TypeAlias = dict[str, Any]
Case: TypeAlias = tuple[int, ...]
"""The index of an option, for each factor."""
CANDIDATES = 30
SAFE = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
SIDECAR = {"name": "side", "image": "proxy:1", "securityContext": SAFE}
PEER = {"namespaceSelector": {"matchLabels": {"team": "data"}}}
POD = {
    "annotations": {"own": "workload"},
    "podAnnotations": {"own": "pod"},
    "podLabels": {"own": "pod"},
    "nodeSelector": {"pool": "a"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "high",
    "serviceAccountName": "existing",
    "extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}],
    "initContainers": [{**SIDECAR, "name": "first", "restartPolicy": "Always"}],
    "extraContainers": [SIDECAR],
}
TLS = {"enabled": True, "existingSecret": "ca", "certKey": "tls.crt", "keyKey": "tls.key"}
SASL = {"mechanism": "SCRAM-SHA-512", "existingSecret": "login"}
PROPERTIES = {"propertiesSecret": {"name": "properties"}}
BRIDGE = {"enabled": True, "existingSecret": "segment"}
KEDA = {"enabled": True, "type": "keda"}

FACTORS: Mapping[str, Sequence[Values]] = {
    "kafka": (
        {},
        {"kafka": {"tls": TLS}},
        {"kafka": {"sasl": SASL, "tls": {"enabled": True}}, "topics": {"kafka": {"tls": TLS}}},
        {"kafka": PROPERTIES},
        {name: {"kafka": {"sasl": SASL}} for name in ("worker", "bridge", "toolbox")},
    ),
    "wootric": (
        {"wootric": {"existingSecret": "wootric"}},
        {"wootric": {"existingSecret": "wootric", "auth": "login"}},
        {"wootric": {"accountToken": "NPS-EU-0a", "clientId": "a", "clientSecret": "b"}},
        {
            "externalSecrets": {
                "enabled": True,
                "remoteKey": "wootric",
                "storeRef": {"name": "vault"},
            }
        },
    ),
    "state": tuple({"state": {"kind": kind}} for kind in ("memory", "emptyDir", "volume")),
    "scaling": (
        {"replicaCount": 0, "pdb": {"minAvailable": 0}},
        {"autoscaling": {"enabled": True}},
        {"autoscaling": {**KEDA, "keda": {"fallbackReplicas": 2}}},
        {"autoscaling": {**KEDA, "keda": {"prometheusAddress": "http://prometheus:9090"}}},
    ),
    "bridge": (
        {},
        {"bridge": {**BRIDGE, "autoscaling": {"enabled": True}}},
        {
            "bridge": {
                **BRIDGE,
                "ingress": {"enabled": True, "host": "segment.example.com"},
                "service": {
                    "type": "LoadBalancer",
                    "loadBalancerClass": "example.com/internal",
                    "loadBalancerSourceRanges": ["192.0.2.0/24"],
                    "externalTrafficPolicy": "Local",
                },
            }
        },
        {
            "bridge": {
                **BRIDGE,
                "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
                "service": {"type": "NodePort", "nodePort": 30080},
            }
        },
        {"bridge": {"enabled": True, "fromTopic": "segment.raw"}},
    ),
    "exporter": ({}, {"lagExporter": {"enabled": True}}),
    "toolbox": (
        {},
        {"toolbox": {"enabled": True}},
        {"toolbox": {"enabled": True, "wootricCredentials": True, "jobs": {"audit": ["verify"]}}},
    ),
    "metrics": (
        {},
        {
            "metrics": {
                "bearerToken": {"existingSecret": "scrapes"},
                "podMonitor": {
                    "enabled": True,
                    "relabelings": [{"targetLabel": "cluster", "replacement": "a"}],
                },
            }
        },
        {
            "metrics": {
                "serviceMonitor": {"enabled": True, "scrapeTimeout": "10s", "honorLabels": True},
                "prometheusRule": {"enabled": True},
                "dashboards": {"enabled": True},
            }
        },
    ),
    "network": (
        {},
        {"networkPolicy": {"enabled": True}},
        {
            "networkPolicy": {
                "enabled": True,
                "flavor": "cilium",
                **{name: [PEER] for name in ("kafkaTo", "metricsFrom", "bridgeFrom")},
            }
        },
    ),
    "security": (
        {},
        {"secrets": {"asFiles": False}},
        {"global": {"compatibility": {"openshift": {"adaptSecurityContext": "force"}}}},
        {"serviceAccount": {"create": False, "name": "existing"}},
    ),
    "pods": (
        {},
        dict.fromkeys(("worker", "bridge", "lagExporter", "toolbox", "hooks"), POD),
        {
            **{name: POD[name] for name in ("podLabels", "podAnnotations", "tolerations")},
            "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["kafka"]}],
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["192.0.2.53"]},
            "global": {"imageRegistry": "mirror.example.com", "imagePullSecrets": [{"name": "a"}]},
        },
    ),
    "services": ({}, {"service": {"ipFamilyPolicy": "PreferDualStack"}}),
    "names": ({}, {"fullnameOverride": "n" * 60}, {"nameOverride": "other"}),
    "hooks": (
        {},
        {"topics": {"create": False}, "preflight": {"enabled": False}},
        {"settings": {"SCHEMA_REGISTRY__URL": "http://registry:8081"}},
    ),
}
REFUSED = "KEDA cannot log in by kafka.propertiesSecret"
"""Of all pairs the chart refuses those of KEDA and a secret that KEDA cannot read."""


def cases(count: int, seed: int = 1) -> list[Case]:
    """Return ``count`` cases, each the best of some at random: with the most new pairs.

    The chart accepts each of them.
    """
    dice = Random(seed)
    sizes = [len(options) for options in FACTORS.values()]
    left = set(pairs_of_all())
    found: list[Case] = []
    for _ in range(count):
        drawn = [tuple(dice.randrange(size) for size in sizes) for _ in range(CANDIDATES)]
        if left:
            drawn = [with_pair(one, dice.choice(sorted(left))) for one in drawn]
        drawn = [one for one in drawn if not refused(one)]
        best = max(drawn, key=lambda one: len(left.intersection(pairs(one))))
        left.difference_update(pairs(best))
        found.append(best)
    return found


PLAIN: Case = (0,) * len(FACTORS)
Pair: TypeAlias = tuple[int, int, int, int]
"""Two factors, and an option of each."""


def pairs_of_all() -> Iterator[Pair]:
    """Yield each pair of options that the chart accepts together."""
    for pair in every_pair():
        if not refused(with_pair(PLAIN, pair)):
            yield pair


def refused_pairs() -> list[Case]:
    """Return a case for each pair that the chart refuses; it refuses nothing else in them."""
    cases_of_pairs = (with_pair(PLAIN, pair) for pair in every_pair())
    return [case for case in cases_of_pairs if refused(case)]


def every_pair() -> Iterator[Pair]:
    sizes = [len(options) for options in FACTORS.values()]
    for first, second in combinations(range(len(sizes)), 2):
        for one, other in product(range(sizes[first]), range(sizes[second])):
            yield first, second, one, other


def refused(case: Case) -> bool:
    values = values_of(case)
    keda = values.get("autoscaling", {}).get("type") == "keda"
    return keda and "propertiesSecret" in values["kafka"]


def pairs(case: Case) -> Iterator[Pair]:
    for first, second in combinations(range(len(case)), 2):
        yield first, second, case[first], case[second]


def with_pair(case: Case, pair: Pair) -> Case:
    first, second, one, other = pair
    return tuple({first: one, second: other}.get(index, at) for index, at in enumerate(case))


def values_of(case: Case) -> Values:
    """Return the values of a case: those of its options, merged."""
    values: Values = {"kafka": {"bootstrapServers": "kafka:9093"}}
    for options, at in zip(FACTORS.values(), case, strict=True):
        values = merged(values, options[at])
    return values


def merged(base: Values, over: Values) -> Values:
    found = dict(base)
    for name, value in over.items():
        inner = found.get(name)
        both = isinstance(inner, dict) and isinstance(value, dict)
        found[name] = merged(inner, value) if both else value
    return found
