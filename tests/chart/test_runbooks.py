"""Runbooks: one per alert, in the same form, with commands that exist and say where they run."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rendering import CHART
from test_rules import ALERTS

from scripts.docs import sources

FOLDER = Path(__file__).parents[2] / "docs" / "runbooks"
PARTS = ["Meaning", "Impact", "First look", "Fix", "Verify", "Escalate"]
COMMANDS = dict(sources.commands())
TOOLBOX = re.compile(
    r"kubectl exec (?:-i )?-n NAMESPACE deploy/RELEASE-toolbox -- wootric-stream (.*)"
)
OF_THE_CLUSTER = re.compile(r"kubectl (?:get nodes|taint nodes|top node)\b")
OF_KAFKA = re.compile(r"kafka-[a-z-]+\.sh --bootstrap-server BROKERS ")
SEVERITIES: dict[str, list[str]] = {}
for one in ALERTS.values():
    SEVERITIES.setdefault(one["alert"], []).append(one["labels"]["severity"])


def text_of(alert: str) -> str:
    return (FOLDER / f"{alert}.md").read_text()


def parts(alert: str) -> dict[str, str]:
    """Return the text of each part."""
    _, *pairs = re.split(r"^## (.*)$", text_of(alert), flags=re.MULTILINE)
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def copied(text: str) -> Iterator[str]:
    """Yield the commands that a reader copies."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        yield from map(str.strip, block.splitlines())


def test_every_runbook_belongs_to_an_alert():
    assert {path.stem for path in FOLDER.glob("*.md")} - {"index"} == set(SEVERITIES)


def test_a_runbook_has_the_form_that_a_tired_reader_knows():
    """What is late, what is lost and when; at least one command to copy."""
    for alert, severities in SEVERITIES.items():
        named = " or ".join(f"`{severity}`" for severity in sorted(severities))
        assert text_of(alert).startswith(f"# {alert}\n\nSeverity {named}: "), alert
        found = parts(alert)
        assert list(found) == PARTS, alert
        assert all(text.strip() for text in found.values()), alert
        impact = r"\s*\* Late: .*?\n\* Lost: .*"
        assert re.fullmatch(impact, found["Impact"], re.DOTALL), alert
        assert list(copied(found["First look"] + found["Fix"])), alert


def test_a_command_says_where_it_runs_and_exists():
    lost_ledger = (FOLDER.parent / "how-to" / "operate" / "disaster.md").read_text()
    texts = [lost_ledger, *map(text_of, SEVERITIES)]
    for command in (one for text in texts for one in copied(text)):
        inside = TOOLBOX.fullmatch(command)
        if inside:
            parse(shlex.split(inside[1].partition(" <")[0]))
        else:
            assert "wootric-stream " not in command, command
            local = command.startswith(("kubectl ", "helm ")) and " -n NAMESPACE" in command
            assert local or OF_THE_CLUSTER.match(command) or OF_KAFKA.match(command), command


def test_the_toolbox_runs_commands_that_exist():
    """Its Jobs, and those of its page."""
    for job in yaml.safe_load((CHART / "values.yaml").read_text())["toolbox"]["jobs"].values():
        parse([word.replace("$(TO_TIME)", "2026-03-02T00:00:00Z") for word in job])
    page = (FOLDER.parent / "how-to" / "operate" / "toolbox.md").read_text()
    for command in copied(page):
        program, inside, arguments = command.partition(" -- wootric-stream ")
        if inside:
            assert program.startswith("kubectl exec deploy/"), command
            parse(shlex.split(arguments))


def parse(words: list[str]) -> None:
    """Parse a command line as the program does, without running it.

    Raises:
        Exception: the command, or one of its options or arguments, does not exist.
    """
    found = [name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS]
    assert found, f"there is no command {' '.join(words)}"
    COMMANDS[found[0]].make_context(found[0], words[len(found[0].split()) :]).close()


@pytest.mark.parametrize("wrong", ["status --every", "dlq replays", "dlq show 1-2 3-4"])
def test_a_wrong_command_is_noticed(wrong):
    with pytest.raises(Exception, match=r"(?i)no such option|no command|unexpected extra"):
        parse(wrong.split())
