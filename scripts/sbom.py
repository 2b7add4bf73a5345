"""Write the image's bill of materials as CycloneDX: the base image by digest, Python's packages by version.

``python -m scripts.sbom FILE`` runs in the environment of the maintainers' tools. The Debian packages of
the base are not listed; the release workflow attaches a list of them, made from the built image.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from scripts.runtime_lock import BUILD, normal, runtime, wanted_by

ROOT = Path(__file__).parents[1]
SCHEMA = SchemaVersion.V1_6
VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
BASE = re.compile(r"^FROM (?P<name>\w+):(?P<tag>\S+)@sha256:(?P<digest>\S+) ", re.MULTILINE)
PIN = re.compile(r"^([\w.-]+)==([\w.+!]+)")


def component(kind: ComponentType, purl: PackageURL) -> Component:
    """Return a component that is referred to by its package URL."""
    return Component(
        type=kind, name=purl.name, version=purl.version, purl=purl, bom_ref=purl.to_string()
    )


def base_image(dockerfile: str) -> Component:
    """Return the image that the Dockerfile begins from."""
    found = BASE.search(dockerfile)
    if found is None:
        raise ValueError("the Dockerfile pins no base by digest")
    digest = f"sha256:{found['digest']}"
    made = component(
        ComponentType.CONTAINER,
        PackageURL("oci", None, found["name"], digest, {"tag": found["tag"]}),
    )
    made.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=found["digest"]))
    return made


def packages(lock: str, pyproject: str) -> Iterator[tuple[Component, set[str]]]:
    """Yield the image's Python packages, each with the normalized names of its dependents."""
    for name, entry in runtime(lock, pyproject).items():
        if name != BUILD and (pin := PIN.match(entry)):
            purl = PackageURL("pypi", None, name, pin[2])
            yield (
                component(ComponentType.LIBRARY, purl),
                {normal(one.partition(" ")[0]) for one in wanted_by(entry)},
            )


def bill(root: Path) -> Bom:
    """Return the bill of materials of the image that is built from ``root``."""
    lock, pyproject, dockerfile, code = (
        (root / name).read_text(encoding="utf-8")
        for name in ("requirements.lock", "pyproject.toml", "Dockerfile", "stream/__init__.py")
    )
    version = VERSION.search(code)
    if version is None:
        raise ValueError("stream/__init__.py has no __version__")
    service = component(
        ComponentType.APPLICATION, PackageURL("pypi", None, "wootric-stream", version[1])
    )
    found = {service.name: service}
    wanted = dict[str, set[str]]()
    for one, dependents in packages(lock, pyproject):
        found[one.name], wanted[one.name] = one, dependents
    base = base_image(dockerfile)
    made = Bom(components=[base, *(one for one in found.values() if one is not service)])
    made.metadata.component = service
    made.register_dependency(
        service, [base, *(found[name] for name in wanted if service.name in wanted[name])]
    )
    for name, one in found.items():
        if one is not service:
            made.register_dependency(one, [found[n] for n in wanted if name in wanted[n]])
    return made


def main(file: Path) -> None:
    """Write the bill to ``file``.

    Raises:
        ValueError: it breaks the schema of CycloneDX, or a file of the repository is not as expected.
    """
    text = make_outputter(bill(ROOT), OutputFormat.JSON, SCHEMA).output_as_string(indent=2)
    problem = JsonStrictValidator(SCHEMA).validate_str(text)
    if problem is not None:
        raise ValueError(f"not CycloneDX {SCHEMA.to_version()}: {problem}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
