"""The commands of those who run replicas. Imported for every `quorate --help`: nothing heavy at the top."""

from __future__ import annotations

from collections.abc import Callable

from cyclopts import App

OPERATING = "Running a group"


def add_commands(app: App, add: Callable[..., None]) -> None:
    """`add(app, path, name=, help=, group=)` registers a command by import path."""
    add(
        app,
        "chatsvc.operating:init",
        name="init",
        group=OPERATING,
        help="Found a group: make keys, certificates and the group file in a directory.",
    )
    add(app, "chatsvc.operating:up", name="up", group=OPERATING, help="Run all replicas of a group until Ctrl-C.")
    add(app, "chatsvc.operating:node", name="node", group=OPERATING, help="Run one replica of a group.")
    add(
        app,
        "chatsvc.restarting:restart",
        name="restart",
        group=OPERATING,
        help="Restart replicas one at a time, while the others are well.",
    )
    add(app, "chatsvc.renewing:renew", name="renew", group=OPERATING, help="Give a replica a new TLS certificate.")

    evidence = App(name="evidence", help="Look at proofs of misbehaviour, and verify them offline.", group=OPERATING)
    add(
        evidence,
        "chatsvc.evidence_commands:list_proofs",
        name="list",
        help="List the proofs that nodes or clients keep, each verified.",
    )
    add(evidence, "chatsvc.evidence_commands:show", name="show", help="Explain a proof in words.")
    add(
        evidence,
        "chatsvc.evidence_commands:verify",
        name="verify",
        help="Check a proof from the group file alone, offline.",
    )
    add(
        evidence,
        "chatsvc.evidence_commands:export",
        name="export",
        help="Write a proof as one file that anybody can verify.",
    )
    add(
        evidence,
        "chatsvc.evidence_commands:forensics",
        name="forensics",
        help="Compare the ledgers of stopped nodes, and name who broke the agreement.",
    )
    app.command(evidence)
