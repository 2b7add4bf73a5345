"""The command that probes a real account: confirmation, progress, table."""

import asyncio
from typing import Any

from sink.wootric.auth import WootricAccount
from sink.wootric.probe import NOT_ASKED, QUESTIONS, ProbePerson, is_as_assumed
from stream.doctor.probe import Pace, ProbeReport, new_person, probe_account
from stream.operations.output import EXIT_FAILED, Table, fail, print_message, show
from stream.settings_loader import load_wootric
from stream.wootric import wootric_account

COLUMNS = ("question", "assumed", "seen")


def command(*, yes: bool, as_json: bool, pace: Pace | None = None) -> None:
    """Probe the account of this environment and print the table, or with ``yes=False`` the plan.

    Raises:
        StartupError: settings are missing or invalid.
        typer.Exit: the probe ended early, or the test person may be left at Wootric.
    """
    account = wootric_account(load_wootric())
    person = new_person()
    if not yes:
        plan = _plan(account, person)
        document = {"done": False, "plan": plan, "answers": [], "left": [], "failure": ""}
        show(document, [*plan, "nothing was sent; repeat with --yes to probe"], as_json=as_json)
        return
    print_message(f"account at {account.resources_url}")
    report = ProbeReport(person)
    try:
        asyncio.run(probe_account(account, report, say=print_message, pace=pace))
    finally:
        show(_document(report), _parts(report), as_json=as_json)
        for line in _left(report):
            print_message(f"wootric-stream: {line}")
    if report.failure:
        fail(report.failure, report.exit_code)
    if _left(report):
        fail("the test person was not deleted", EXIT_FAILED)


def _plan(account: WootricAccount, person: ProbePerson) -> list[str]:
    emails = ", ".join(person.emails)
    return [
        f"probe the account at {account.resources_url}, in about a minute and 50 requests:",
        f"  create a person with external id {person.external_id} and e-mail {person.emails[0]}",
        "  change properties and phone number of this person, one of them to an invalid value",
        "  send three responses with score 8 for this person, and load the pixel once",
        "  try to create people with the same e-mail, phone number and external id",
        f"  delete every person that was created, all with one of the e-mails {emails}",
        "the responses count in the account's score until Wootric has deleted the person",
    ]


def _document(report: ProbeReport) -> dict[str, Any]:
    answers = []
    for question in QUESTIONS:
        seen = report.seen.get(question.key, NOT_ASKED)
        answers.append(
            {
                "key": question.key,
                "question": question.text,
                "assumed": question.assumed,
                "seen": seen.position,
                "detail": seen.detail,
                "as_assumed": is_as_assumed(question, seen),
            }
        )
    return {
        "done": not report.failure,
        "plan": [],
        "answers": answers,
        "left": list(report.ids),
        "failure": report.failure,
    }


def _parts(report: ProbeReport) -> list[Table | str]:
    rows = []
    verdicts = []
    for question in QUESTIONS:
        seen = report.seen.get(question.key, NOT_ASKED)
        rows.append((question.text, question.assumed, seen))
        verdicts.append(is_as_assumed(question, seen))
    summary = (
        f"{verdicts.count(True)} as assumed, {verdicts.count(False)} otherwise, "
        f"{verdicts.count(None)} unknown"
    )
    return [Table("what Wootric does", COLUMNS, rows), summary]


def _left(report: ProbeReport) -> list[str]:
    """Return what of the test person may be left at Wootric, one line per end user."""
    external_id, email = report.person.external_id, report.person.emails[0]
    names = f"external id {external_id}, e-mail {email}"
    lines = [
        f"end user {one} of the test person could not be deleted; delete it at Wootric ({names})"
        for one in report.ids
    ]
    if report.in_doubt:
        lines.append(f"the test person may exist; look for it at Wootric ({names})")
    return lines
