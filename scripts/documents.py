"""Generate the chart's README.md, values.schema.json and dashboards.

`make chart` runs this file. A comment that starts with "--" describes the value below it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from scripts import dashboards
from stream.settings import SECTIONS

CHART = Path(__file__).parents[1] / "helm" / "wootric-destination"

BY_THE_CHART = {
    "KAFKA__BOOTSTRAP_SERVERS",
    "KAFKA__GROUP_ID",
    "KAFKA__INSTANCE_ID",
    "KAFKA__PROPERTIES",
    "KAFKA__TOPIC",
    "STATE__DIR",
    "HTTP__HOST",
    "HTTP__PORT",
    "BRIDGE__HOST",
    "BRIDGE__PORT",
}
"""Settings that the chart sets from other values; those with secrets come from Secrets."""

CHOICES = {
    "global.compatibility.openshift.adaptSecurityContext": ["auto", "force", "disabled"],
    "image.pullPolicy": ["Always", "IfNotPresent", "Never"],
    "kafka.sasl.mechanism": ["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"],
    "wootric.auth": ["client", "login"],
    "state.kind": ["memory", "emptyDir", "volume"],
    "externalSecrets.storeRef.kind": ["SecretStore", "ClusterSecretStore"],
    "autoscaling.type": ["hpa", "keda"],
    "networkPolicy.flavor": ["kubernetes", "cilium"],
    "service.ipFamilyPolicy": ["", "SingleStack", "PreferDualStack", "RequireDualStack"],
    "bridge.service.externalTrafficPolicy": ["", "Cluster", "Local"],
    "dnsPolicy": ["", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
    "bridge.service.type": ["ClusterIP", "NodePort", "LoadBalancer"],
}
OPEN = {
    "updateStrategy",
    "resources",
    "lagExporter.resources",
    "bridge.resources",
    "hooks.resources",
    "toolbox.resources",
    "autoscaling.behavior",
    "podSecurityContext",
    "securityContext",
    "metrics.dashboards.labels",
    "metrics.dashboards.annotations",
}
"""Objects that Kubernetes validates."""
SHAPES: Mapping[str, dict[str, Any]] = {
    "pdb.maxUnavailable": {"type": ["integer", "string"]},
    "pdb.minAvailable": {"type": ["integer", "string", "null"]},
    "toolbox.jobs": {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$"},
        "additionalProperties": {"type": "array", "items": {"type": "string"}},
    },
    "externalSecrets.additional": {
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "remoteKey", "keys"],
            "properties": {
                "name": {"type": "string"},
                "remoteKey": {"type": "string"},
                "keys": {"type": "array", "minItems": 1, "items": {"type": "string"}},
            },
        },
    },
    "service.ipFamilies": {"type": "array", "items": {"enum": ["IPv4", "IPv6"]}},
    "wootric.accountToken": {
        "type": "string",
        "pattern": r"^(NPS-((EU|AU)-)?[0-9A-Za-z]+)?$",
    },
    "terminationGracePeriodSeconds": {"type": ["integer", "null"], "minimum": 1},
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "metrics.podMonitor.interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"},
    "metrics.serviceMonitor.interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"},
}
PLAIN: Mapping[type, dict[str, Any]] = {
    list: {"type": "array"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": 0},
}
LOGINS = {
    f"{section}.kafka" for section in ("worker", "bridge", "lagExporter", "topics", "toolbox")
}
"""Fields of `kafka` for one component."""
OF_ALL = {"topic", "groupId", "partitions"}
"""Fields of `kafka` that no component has of its own."""
NAME = re.compile(r"^( *)([\w-]+):")


def descriptions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the description of every value that has one."""
    path: list[str] = []
    said: list[str] = []
    for line in text.splitlines():
        comment = line.strip()
        if comment.startswith("# -- "):
            said = [comment.removeprefix("# -- ")]
        elif comment.startswith("# ") and said:
            said.append(comment.removeprefix("# "))
        elif found := NAME.match(line):
            path = [*path[: len(found[1]) // 2], found[2]]
            if said:
                yield ".".join(path), " ".join(said)
            said = []


def schema() -> dict[str, Any]:
    """Return the schema of the values; names that values.yaml lacks are not allowed."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    told = dict(descriptions(text))
    root = _object(yaml.safe_load(text), "", told)
    root["properties"]["global"]["additionalProperties"] = True  # of a parent's other charts
    fields = root["properties"]["kafka"]["properties"].items()
    login = _closed({name: shape for name, shape in fields if name not in OF_ALL})
    for section, _, name in (path.partition(".") for path in LOGINS):
        properties = root["properties"][section]["properties"]
        properties[name] = {**login, "description": properties[name]["description"]}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **root}


def _object(value: Mapping[str, Any], path: str, told: Mapping[str, str]) -> dict[str, Any]:
    properties = {}
    for name, inner in value.items():
        where = f"{path}.{name}" if path else name
        properties[name] = _shape(inner, where, told)
        if where in told:
            properties[name]["description"] = told[where]
    return _closed(properties)


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _shape(value: Any, path: str, told: Mapping[str, str]) -> dict[str, Any]:
    if path in SHAPES:
        return dict(SHAPES[path])
    if path in CHOICES:
        return {"type": "string", "enum": CHOICES[path]}
    if path == "settings":
        return settings_schema()
    if isinstance(value, dict):
        closed = value and path not in OPEN
        return _object(value, path, told) if closed else {"type": "object"}
    return dict(PLAIN.get(type(value), {"type": "string"}))


def settings_schema() -> dict[str, Any]:
    """Return the schema of the service's settings, with their bounds."""
    properties = {}
    for section, model in SECTIONS.items():
        inner = model.model_json_schema()
        for field, shape in inner["properties"].items():
            name = f"{section.upper()}__{field.upper()}"
            if name not in BY_THE_CHART and not _secret(shape):
                properties[name] = _setting(shape, inner.get("$defs", {}))
    return _closed(properties)


def _secret(shape: Mapping[str, Any]) -> bool:
    return "password" in json.dumps(shape.get("format", shape.get("anyOf", "")))


def _setting(shape: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in shape:
        shape = {**definitions[shape["$ref"].rpartition("/")[2]], **shape}
    kept = ("type", "enum", "pattern", "description")
    bounds = ("minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength")
    found = {name: shape[name] for name in (*kept, *bounds) if name in shape}
    if found.get("type") == "number":  # `helm --set` passes 7.5 as text
        found |= {"type": ["number", "string"], "pattern": r"^[0-9]+(\.[0-9]+)?$"}
    return found


def readme() -> str:
    """Return the chart's README with its list of examples."""
    examples = "\n".join(
        f"| [`{path.name}`](examples/{path.name}) | {_first_words(path)} |"
        for path in sorted((CHART / "examples").glob("*.yaml"))
    )
    intro = (CHART / "README.in.md").read_text(encoding="utf-8")
    return intro.replace("<!-- examples -->", examples)


def _default(values: Any, path: str) -> str:
    for name in path.split("."):
        values = values[name]
    if values in ("", None):
        return ""
    return f"`{json.dumps(values) if not isinstance(values, str) else values}`"


def _first_words(path: Path) -> str:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("# ")


def files() -> dict[Path, str]:
    """Return the generated files: content by path."""
    return {
        CHART / "values.schema.json": json.dumps(schema(), indent=2) + "\n",
        CHART / "README.md": readme(),
        **dashboards.files(),
    }


if __name__ == "__main__":
    for old in (CHART / "files" / "dashboards").glob("*.json"):
        old.unlink()
    for file, content in files().items():
        file.write_text(content, encoding="utf-8")
