from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chatsvc.fakes import Service, furnish


@pytest.fixture
def empty() -> Iterator[Service]:
    """A service without accounts and rooms."""
    service = Service()
    yield service
    service.close()


@pytest.fixture
def service(empty: Service) -> Service:
    """Alice and Bob in the room `garden`."""
    furnish(empty)
    return empty
