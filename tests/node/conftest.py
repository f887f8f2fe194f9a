from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pytest
from structlog.testing import capture_logs

from chatsvc.founding import found_group, ledger_identity
from chatsvc.groupfile import GroupFile, read_group_file
from crypto.signing import Ed25519Signer
from pbft.core.group import Parameters
from pbft.node.ledger import Ledger
from tests.node.logs import Logs


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> GroupFile:
    """A group of four; its nodes' stores are whatever the last test left."""
    directory = tmp_path_factory.mktemp("group")
    parameters = Parameters(checkpoint_interval=8, pipeline_depth=4)
    return read_group_file(
        found_group(directory, name="attacked", replicas=4, host="127.0.0.1", base_port=None, parameters=parameters)
    )


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """An empty directory whose files cost no disk, where there is one: for thousands of ledgers."""
    memory = Path("/dev/shm")  # noqa: S108 - TemporaryDirectory makes a name of its own in it
    if not memory.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(prefix="quorate-tests-", dir=memory) as directory:
        yield Path(directory)


@pytest.fixture
def group_file(founded: GroupFile) -> GroupFile:
    """A group of four whose nodes have never run."""
    for replica in founded.group.replicas:
        home = founded.replica_directory(replica)
        for path in [*home.glob("*.sqlite*"), *home.glob("ledger.witness"), *home.glob("evidence/*")]:
            path.unlink()
        Ledger.create(home, ledger_identity(founded.group, founded.members[replica].signing_key))
    return founded


@pytest.fixture
def elsewhere(tmp_path: Path) -> GroupFile:
    """Another group, with keys and certificates of its own."""
    return read_group_file(
        found_group(
            tmp_path / "other", name="other", replicas=4, host="127.0.0.1", base_port=None, parameters=Parameters()
        )
    )


@pytest.fixture
def logs() -> Iterator[Logs]:
    """What the nodes of this process log from here on."""
    with capture_logs() as captured:
        yield cast("Logs", captured)


@pytest.fixture
def device() -> Ed25519Signer:
    return Ed25519Signer.generate()
