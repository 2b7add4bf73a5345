"""The image, built by the builder that this machine has: see scripts/image.py."""

from collections.abc import Iterator

import pytest

from scripts.image import Buildah, BuildError, Docker, builder
from stream import __version__

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def image() -> Iterator[Docker | Buildah]:
    """Without a builder each test fails and says why."""
    try:
        chosen = builder()
    except BuildError as missing:
        pytest.fail(str(missing))
    try:
        chosen.build()
        yield chosen
    finally:
        chosen.close()


def test_the_image_runs_the_service(image):
    assert image.inside("wootric-stream", "--version").strip() == __version__


def test_the_image_starts_the_program_itself(image):
    """In exec form, so that SIGTERM reaches it and not a shell."""
    config = image.config()
    assert config["Entrypoint"] == ["/opt/wootric-stream/bin/wootric-stream"]
    assert config["Cmd"] == ["run"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__


def test_the_image_is_nobodys(image):
    """Not root, and nothing of the program can be written by it."""
    assert image.config()["User"] == "10001:10001"
    assert (
        image.inside("python3", "-c", "import os; print(os.getuid(), os.getgid())")
        == "10001 10001\n"
    )
    look = (
        "import os; print([p for p in ('/opt/wootric-stream', '/usr', '/etc') if os.access(p, 2)])"
    )
    assert image.inside("python3", "-c", look) == "[]\n"


def test_the_image_holds_no_tools_and_no_tests(image):
    """Neither the service's Python nor the base's can install anything."""
    look = (
        "import importlib.util as u, shutil; "
        "print([m for m in ('ensurepip', 'pip', 'setuptools', 'pytest') if u.find_spec(m)], "
        "[t for t in ('gcc', 'cc', 'make', 'git', 'curl', 'pip', 'pip3') if shutil.which(t)])"
    )
    python = "/opt/wootric-stream/bin/python"
    own = image.inside(python, "-c", "import sys; print(sys._base_executable)").strip()
    assert image.inside(python, "-c", look) == "[] []\n"
    assert image.inside(own, "-c", look) == "[] []\n"


def test_the_image_reaches_kafka(image, bootstrap_servers):
    """The chart's hooks, as they run in a cluster."""
    given = {"KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers, "KAFKA__TOPIC": "image.events"}
    image.inside(
        "wootric-stream", "topics", "create", "--partitions", "1", "--yes", environment=given
    )
    said = image.inside("wootric-stream", "topics", "check", environment=given)
    assert said.count("ok  ") == 4
