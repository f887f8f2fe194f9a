"""`quorate evidence`: proofs of misbehaviour, looked at and verified offline."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from chatsvc.evidence_report import (
    printable,
    record_of,
    say,
    say_findings,
    say_findings_json,
    say_json,
    say_paragraph,
)
from chatsvc.evidence_words import REASONS, TITLES, culprit_name, explain
from chatsvc.groupfile import GROUP_FILE_NAME, GroupFileError, read_group_file
from chatsvc.process import LOCK_NAME
from crypto.digest import digest_of
from crypto.files import PRIVATE_MODE, atomic_write
from crypto.signing import Ed25519Verifier
from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.evidence import (
    InvalidEvidence,
    decode_evidence,
    encode_evidence,
    evidence_bytes_max,
    verify_evidence,
)
from pbft.core.forensics import forensics_of
from pbft.core.group import Group
from pbft.node.post_mortem import LedgerCopy, Unreadable, ledgers_in, node_directories, proofs_in, read_file

EXIT_PROVEN = 0
EXIT_NOT_PROVEN = 1
EXIT_USAGE = 2
GROUP_FILE_WITHIN = 3
"""So many directories above a file are looked into for the group file."""

GroupOption = Annotated[Path | None, Parameter(env_var="QUORATE_GROUP")]
JsonOption = Annotated[bool, Parameter(negative="")]


class _Usage(Exception):  # noqa: N818 - what it is
    """The command cannot be carried out as it was given. The text says what and where, and what to do."""


def _command(body: Callable[[], int]) -> int:
    try:
        return body()
    except (_Usage, Unreadable, GroupFileError) as error:
        sys.stderr.write(f"quorate: {printable(str(error))}\n")
        return EXIT_USAGE
    except BrokenPipeError:
        return EXIT_USAGE


def _group(given: Path | None, near: Path) -> Group:
    """Of the file given, or of one in this directory or a few above it. Raises GroupFileError, _Usage."""
    if given is not None:
        return read_group_file(given).group
    start = near.resolve()
    for directory in [start, *start.parents][: GROUP_FILE_WITHIN + 1]:
        if (directory / GROUP_FILE_NAME).is_file():
            return read_group_file(directory).group
    raise _Usage(f"{near}: no group file is near it; use --group PATH/group.toml, or set QUORATE_GROUP")


def _opener(group: Group) -> Opener:
    return Opener(group, Ed25519Verifier())


def _read(group: Group, path: Path) -> Evidence:
    """Raises Unreadable, InvalidEvidence."""
    return decode_evidence(group, read_file(path, evidence_bytes_max(group)))


def list_proofs(
    *directories: Annotated[Path, Parameter(name="DIR")], group: GroupOption = None, json: JsonOption = False
) -> int:
    """List the proofs in a group's directory, a node's, or a client's store, each verified.

    Exit codes: 0 listed, also if there are none; 2 usage, or a directory that cannot be read.

    Example: quorate evidence list my-group

    Parameters
    ----------
    directories
        Directories of groups, nodes or clients.
    group
        The group file; without it, the one found in the directory or above it.
    json
        One JSON object per proof on stdout.
    """

    def body() -> int:
        _require(directories)
        found = 0
        for directory in directories:
            opener = _opener(_group(group, directory))
            for path in _proof_files(directory):
                found += 1
                _list_one(opener, path, as_json=json)
        if not found and not json:
            say("no proofs of misbehaviour are kept there")
        return 0

    return _command(body)


def _require(directories: tuple[Path, ...]) -> None:
    if not directories:
        raise _Usage("no directory given; name that of the group, a node or a client: quorate evidence list my-group")
    for directory in directories:
        if not directory.is_dir():
            raise _Usage(f"{directory}: is no directory; name that of the group, a node or a client")


def _proof_files(directory: Path) -> Iterator[Path]:
    for node in node_directories(directory):
        yield from proofs_in(node)


def _list_one(opener: Opener, path: Path, *, as_json: bool) -> None:
    problem = ""
    record: dict[str, Any] = {}
    about = "unknown"
    try:
        evidence = _read(opener.group, path)
        record = record_of(evidence)
        about = f"{evidence.code}: {culprit_name(evidence)} {TITLES[evidence.code]}"
        verify_evidence(opener, evidence)
    except (InvalidEvidence, Unreadable) as error:
        problem = str(error)
    if as_json:
        say_json({"file": str(path), **record, "proven": not problem, "reason": problem or None})
        return
    say(str(path))
    say(f"  NOT PROVEN: {problem}" if problem else f"  {about}")


def show(
    file: Annotated[Path, Parameter(name="FILE")], *, group: GroupOption = None, json: JsonOption = False
) -> int:
    """Explain a proof in words: who said what twice, and why no correct replica does.

    Exit codes: 0 shown and proven, 1 not proven, 2 usage.

    Example: quorate evidence show my-group/replica-1/evidence/E1-replica-0-5f0c.cbor

    Parameters
    ----------
    file
        A file of a store, or one that was exported.
    group
        The group file; without it, the one found in the file's directory or above it.
    json
        One JSON object on stdout.
    """

    def body() -> int:
        opener = _opener(_group(group, file.parent))
        return _show(opener, file, as_json=json)

    return _command(body)


def _show(opener: Opener, file: Path, *, as_json: bool) -> int:
    try:
        evidence = _read(opener.group, file)
    except InvalidEvidence as error:
        return _not_proven(file, str(error), as_json=as_json)
    problem = _why_not(opener, evidence)
    explained = explain(opener, evidence)
    if as_json:
        words = {"title": explained.title, "said": list(explained.said), "why": explained.why}
        say_json({"file": str(file), **record_of(evidence), "proven": problem is None, "reason": problem, **words})
        return EXIT_PROVEN if problem is None else EXIT_NOT_PROVEN
    say(f"{evidence.code}: {explained.title}" if problem is None else f"{evidence.code}, NOT PROVEN: {problem}")
    say()
    for number, said in enumerate(explained.said, start=1):
        say(f"  {number}. {said}")
    say_paragraph(explained.why)
    if problem is None:
        say("All signatures were checked against the group file.")
    return EXIT_PROVEN if problem is None else EXIT_NOT_PROVEN


def _why_not(opener: Opener, evidence: Evidence) -> str | None:
    try:
        verify_evidence(opener, evidence)
    except InvalidEvidence as error:
        return str(error)
    return None


def _not_proven(file: Path, reason: str, *, as_json: bool) -> int:
    if as_json:
        say_json({"file": str(file), "proven": False, "reason": reason})
    else:
        say(f"{file}: NOT PROVEN: {reason}")
    return EXIT_NOT_PROVEN


def verify(
    file: Annotated[Path, Parameter(name="FILE")], *, group: GroupOption = None, json: JsonOption = False
) -> int:
    """Check a proof from the group file alone, offline, and say what it proves.

    Exit codes: 0 proven, 1 not proven, 2 usage.

    Example: quorate evidence verify proof.cbor --group my-group/group.toml

    Parameters
    ----------
    file
        A file of a store, or one that was exported.
    group
        The group file: its keys are all that is trusted.
    json
        One JSON object on stdout.
    """

    def body() -> int:
        if group is None:
            raise _Usage("no group given: a proof is checked against the keys in a group file; use --group PATH")
        opener = _opener(_group(group, file.parent))
        try:
            evidence = _read(opener.group, file)
            verify_evidence(opener, evidence)
        except InvalidEvidence as error:
            return _not_proven(file, str(error), as_json=json)
        if json:
            say_json({"file": str(file), **record_of(evidence), "proven": True, "reason": None})
        else:
            say(f"{file}: PROVEN ({evidence.code}): {culprit_name(evidence)} {TITLES[evidence.code]}")
            say_paragraph(REASONS[evidence.code])
        return EXIT_PROVEN

    return _command(body)


def export(
    file: Annotated[Path, Parameter(name="FILE")],
    out: Annotated[Path, Parameter(name="OUT")],
    *,
    group: GroupOption = None,
    json: JsonOption = False,
) -> int:
    """Write a proof as one file that anybody can verify who has the group file. What is not proven is not written.

    Exit codes: 0 written, 1 not proven, 2 usage, or a file that cannot be written.

    Example: quorate evidence export my-group/replica-1/evidence/E1-replica-0-5f0c.cbor proof.cbor

    Parameters
    ----------
    file
        A file of a store.
    out
        The file to write; one that is there already is left alone.
    group
        The group file; without it, the one found in the file's directory or above it.
    json
        One JSON object on stdout.
    """

    def body() -> int:
        opener = _opener(_group(group, file.parent))
        try:
            evidence = _read(opener.group, file)
            verify_evidence(opener, evidence)
        except InvalidEvidence as error:
            return _not_proven(file, str(error), as_json=json)
        data = encode_evidence(opener.group, evidence)
        try:
            atomic_write(out, data, PRIVATE_MODE | 0o044, overwrite=False)
        except FileExistsError as error:
            raise _Usage(f"{out}: is there already; give another name") from error
        except OSError as error:
            raise _Usage(f"{out}: cannot be written: {error.strerror}; give another place") from error
        if json:
            say_json({"file": str(out), **record_of(evidence), "bytes": len(data), "digest": digest_of(data).hex()})
        else:
            say(f"{out}: {len(data)} bytes, {digest_of(data).hex()}")
            say(f"Verify it anywhere:  quorate evidence verify {out} --group GROUPFILE")
        return EXIT_PROVEN

    return _command(body)


def forensics(
    *directories: Annotated[Path, Parameter(name="DIR")], group: GroupOption = None, json: JsonOption = False
) -> int:
    """Compare the ledgers and proofs of stopped nodes, or of copies, and name who broke the agreement.

    Nothing is changed, and nothing is needed but the directories and the group file. The more ledgers of different
    nodes, the more is found; those of faulty nodes may be among them, and can make nobody else guilty.

    Exit codes: 0 nobody is named and no ledger contradicts another, 1 somebody is named or agreement broke, 2 usage.

    Example: quorate evidence forensics my-group

    Parameters
    ----------
    directories
        Directories of a group, of nodes, or of copies of them.
    group
        The group file; without it, the one found in the first directory or above it.
    json
        One JSON object on stdout.
    """

    def body() -> int:
        _require(directories)
        opener = _opener(_group(group, directories[0]))
        nodes = [node for directory in directories for node in node_directories(directory)]
        for node in nodes:
            _refuse_running(node)
        ledgers = [LedgerCopy(path, opener.frame_bytes_max + 1024) for node in nodes for path in ledgers_in(node)]
        if not ledgers:
            raise _Usage(f"{directories[0]}: no ledger is in there; name the directories of nodes, or the group's")
        kept = (evidence for node in nodes for evidence in _kept(opener.group, node))
        findings = forensics_of(opener, ledgers, kept)
        (say_findings_json if json else say_findings)(opener.group, ledgers, findings)
        return 1 if findings.evidence or findings.forks else 0

    return _command(body)


def _refuse_running(node: Path) -> None:
    """A ledger that is written meanwhile could be read by halves. Raises _Usage."""
    try:
        descriptor = os.open(node / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # a copy without it, or one that may not be read: nobody runs there
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _Usage(f"{node}: a node runs there; stop it, or give a copy of its directory") from error
    finally:
        os.close(descriptor)


def _kept(group: Group, node: Path) -> Iterator[Evidence]:
    for path in proofs_in(node):
        try:
            yield _read(group, path)
        except (InvalidEvidence, Unreadable):
            continue
