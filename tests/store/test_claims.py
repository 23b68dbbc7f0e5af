"""Which image is segmented next: live ones before a backlog, what made trouble after all others."""

from pathlib import Path

import pytest

from made_up import NOW, admission
from spheroidd.store.database import Database
from spheroidd.store.ledger import Ledger

LIVE, OLD = int(NOW - 60) * 10**9, int(NOW - 86400) * 10**9


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(Database(tmp_path / "spheroidd.db"))
    written = {"old 1": OLD, "live 1": LIVE, "old 2": OLD, "live 2": LIVE, "old 3": OLD}
    ledger.arrive("/e", [(f"/e/P/A1/{name}", 1, at) for name, at in written.items()], NOW)
    for image in ledger.waiting("/e"):
        ledger.admit(image.id, admission(name=Path(image.path).name), NOW)
    return ledger


def claimed(ledger: Ledger, limit: int, *, newest_first: bool = False) -> list[str]:
    found = ledger.claim_ready(NOW, limit=limit, newest_first=newest_first)
    return [image.name for image in found]


def test_live_images_go_before_a_backlog(ledger: Ledger) -> None:
    assert claimed(ledger, 3) == ["live 1", "live 2", "old 1"]
    assert claimed(ledger, 3) == ["old 2", "old 3"]
    assert claimed(ledger, 3) == []


def test_a_backlog_may_go_newest_first_and_live_images_never_do(ledger: Ledger) -> None:
    assert claimed(ledger, 4, newest_first=True) == ["live 1", "live 2", "old 3", "old 2"]


def test_what_made_trouble_waits_for_all_others(ledger: Ledger) -> None:
    """One that takes the whole daemon down must not be the first to be tried for ever."""
    claimed(ledger, 1)
    ledger.recover(after_a_kill=True)
    assert claimed(ledger, 9) == ["live 2", "old 1", "old 2", "old 3", "live 1"]


def test_measuring_goes_by_the_same_order(ledger: Ledger) -> None:
    [plate] = {image.plate for image in ledger.claim("ready", NOW, limit=9)}
    ledger.recover("ready")
    found = ledger.claim("ready", NOW, plate=plate, suspects=False, limit=2)
    assert {image.name for image in found} == {"live 1", "live 2"}


def test_whether_a_full_batch_is_on_its_way(ledger: Ledger) -> None:
    assert ledger.any_ready(5)
    assert not ledger.any_ready(6)
    claimed(ledger, 1)
    assert not ledger.any_ready(5)
