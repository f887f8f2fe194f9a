"""What the commands about evidence print, for people and for programs."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import Any

from chatsvc.evidence_words import TITLES
from crypto.digest import digest_of
from pbft.core.effects import Evidence
from pbft.core.evidence import encode_evidence
from pbft.core.forensics import Findings
from pbft.core.group import Group
from pbft.node.post_mortem import LedgerCopy

COLUMNS = 100


def printable(text: str) -> str:
    """Names of files, and reasons, may hold what a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text)


def say(text: str = "") -> None:
    sys.stdout.write(printable(text) + "\n")


def say_json(record: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")


def say_paragraph(text: str) -> None:
    say()
    for line in textwrap.wrap(printable(text), COLUMNS):
        say(line)


def record_of(evidence: Evidence) -> dict[str, Any]:
    culprit = evidence.culprit
    return {
        "code": evidence.code,
        "culprit": culprit if isinstance(culprit, int) else culprit.hex(),
        "statements": [digest_of(frame).hex() for frame in evidence.statements],
    }


def say_findings(group: Group, ledgers: list[LedgerCopy], findings: Findings) -> None:
    for ledger in ledgers:
        say(f"{ledger.path}: {ledger.records} records" + (f". PROBLEM: {ledger.problem}" if ledger.problem else ""))
    say(f"{findings.statements} different statements of replicas compared")
    for fork in findings.forks:
        what = "batches" if fork.views else "states"
        where = f" (views {', '.join(map(str, fork.views))})" if fork.views else ""
        say(f"AGREEMENT BROKE at number {fork.sequence}: {len(fork.digests)} different {what} are certified{where}")
    counts: dict[tuple[int, str], int] = {}
    for evidence in findings.evidence:
        key = (int(evidence.culprit), evidence.code) if isinstance(evidence.culprit, int) else (-1, evidence.code)
        counts[key] = counts.get(key, 0) + 1
    for (culprit, code), count in sorted(counts.items()):
        say(f"replica {culprit}: {code} x{count}: {TITLES[code]}")
    say(_verdict(group, findings))


def _verdict(group: Group, findings: Findings) -> str:
    named, bound = len(findings.culprits), group.faulty_max
    if not named:
        if findings.forks:
            return "Nobody can be named from these ledgers: add those of the other nodes"
        return "The ledgers agree, and nobody is named"
    names = f"{named} of {group.size} replicas are proven faulty: {', '.join(map(str, findings.culprits))}"
    if findings.names_enough(group):
        return f"{names}. That is more than the {bound} that the group bears"
    if findings.forks:
        return f"{names}. Agreement breaks only with more than {bound}: add the ledgers of the other nodes"
    return f"{names}. The group bears {bound}: agreement need not have suffered"


def say_findings_json(group: Group, ledgers: list[LedgerCopy], findings: Findings) -> None:
    say_json(
        {
            "ledgers": [
                {"file": str(ledger.path), "records": ledger.records, "problem": ledger.problem or None}
                for ledger in ledgers
            ],
            "statements": findings.statements,
            "forks": [
                {
                    "sequence": fork.sequence,
                    "digests": [digest.hex() for digest in fork.digests],
                    "views": list(fork.views),
                }
                for fork in findings.forks
            ],
            "evidence": [
                {**record_of(evidence), "proof": encode_evidence(group, evidence).hex()}
                for evidence in findings.evidence
            ],
            "culprits": list(findings.culprits),
            "faulty_max": group.faulty_max,
            "more_than_faulty_max": findings.names_enough(group),
            "verdict": _verdict(group, findings),
        }
    )
