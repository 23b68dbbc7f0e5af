from collections.abc import Iterator

import pytest

from receivers import Mailbox, Webhook


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receivers are on this machine."""
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as one:
        yield one


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as one:
        yield one
