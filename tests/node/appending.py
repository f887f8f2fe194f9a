"""Appends to a ledger until killed, or until the disk fails: a process for tests to end.

python -m tests.node.appending DIR [FILE_BYTES_MAX]

Says on stdout, after each transaction is durable, how many there were; and how it ended.
"""

from __future__ import annotations

import os
import resource
import sys
from itertools import count
from pathlib import Path

from pbft.core.effects import Record, RecordKind
from pbft.core.types import SequenceNumber
from pbft.node.ledger import Ledger
from pbft.node.ledger_files import LEDGER_NAME
from pbft.state.errors import StorageFailure
from tests.node.ledgers import IDENTITY, slot, stable

INTERVAL = 8
RETAINED = 16


def transaction(number: int) -> list[Record]:
    """The transaction of sequence number `number`, told by its first record."""
    records = [*slot(number), Record(RecordKind.BODY, SequenceNumber(number), bytes(number % 3 * 3000))]
    return [*records, stable(number)] if number % INTERVAL == 0 else records


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def main(directory: Path, file_bytes_max: int | None) -> None:
    if file_bytes_max is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, hard))  # Python ignores SIGXFSZ
    try:
        if not (directory / LEDGER_NAME).exists():
            Ledger.create(directory, IDENTITY)
        ledger = Ledger(directory, IDENTITY, retained_sequences=RETAINED)
        done = max((record.sequence for record in ledger.records()), default=0)
        for number in count(done + 1):
            ledger.append(transaction(number))
            say("stored", number)
    except StorageFailure as failure:
        say("failed", failure)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
