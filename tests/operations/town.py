"""Events of every kind of end, and commands as an operator runs them."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from stack import Stack
from typer.testing import CliRunner
from waiting import stretched

from stream.cli import app as cli

AT = "2026-01-02T03:04:05.000Z"
PATIENT = {"WOOTRIC__REQUEST_TIMEOUT_S": stretched(30)}
"""For a worker that nobody is silent to: the emulator lives in the tests' process."""


def identify(user: str, message: str, **traits: object) -> dict[str, Any]:
    return {
        "type": "identify",
        "messageId": message,
        "userId": user,
        "timestamp": AT,
        "traits": {"email": f"{user}@example.com", **traits},
    }


def page(user: str, message: str) -> dict[str, Any]:
    return {
        "type": "page",
        "messageId": message,
        "userId": user,
        "timestamp": AT,
        "properties": {"url": f"https://example.com/{message}"},
        "context": {"traits": {"email": f"{user}@example.com"}},
    }


def response(user: str, message: str, score: object = 9) -> dict[str, Any]:
    return {
        "type": "track",
        "messageId": message,
        "userId": user,
        "event": "Survey",
        "timestamp": AT,
        "properties": {"score": score, "text": message, "url": "https://example.com/"},
        "context": {"traits": {"email": f"{user}@example.com"}},
        "integrations": {"Wootric": {"eventType": "create response"}},
    }


def group(user: str, message: str) -> dict[str, Any]:
    return {"type": "group", "messageId": message, "userId": user, "groupId": "g", "timestamp": AT}


@dataclass(frozen=True)
class Ran:
    """What a command said and did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


async def run(stack: Stack, *arguments: str, **settings: str) -> Ran:
    """Run a command of ours, in this process, with the stack's settings."""
    env = {**stack.environment("operator"), **settings}
    ran = await asyncio.to_thread(CliRunner().invoke, cli.app, list(arguments), env=env)
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return Ran(ran.exit_code, ran.stdout, ran.stderr)


async def ask(stack: Stack, *arguments: str, **settings: str) -> Any:
    """Run a command with --json that has to succeed; return its document."""
    ran = await run(stack, *arguments, "--json", **settings)
    assert ran.code == 0, ran.err
    return ran.document


def responses(stack: Stack) -> list[str]:
    """The texts of the responses that Wootric holds."""
    return sorted(str(one.text) for one in stack.wootric.state.responses.values())
