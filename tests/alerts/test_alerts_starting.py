"""A service that can't start says so: once of each reason, in time, and without secrets."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from receivers import Webhook
from spheroidd.alerts import starting as starting_module
from spheroidd.alerts.rules import crash
from spheroidd.alerts.starting import Starting
from spheroidd.errors import StoreError

NOW = 1_700_000_000.0
HOUR = 3600.0
DAMAGED = "The database is damaged (3 pages). Bring back a backup."
Log = tuple[Any, list[dict[str, Any]]]
Make = Callable[..., Starting]


@pytest.fixture
def make(tmp_path: Path, webhook: Webhook, captured_log: Log) -> Make:
    """Another attempt to start, each with nothing but what the last one left on the disk."""

    def one(**said: Any) -> Starting:
        usual = {
            "targets": [webhook.url], "targets_file": None, "remind_hours": 24.0,
            "state_dir": tmp_path, "environment": {}, "log": captured_log[0], "machine": "lab-pc",
        }  # fmt: skip
        return Starting(**{**usual, **said})

    return one


def test_a_reason_is_told_once_and_again_when_it_lasts(make: Make, webhook: Webhook) -> None:
    for n in range(5):  # what changes in a reason is its numbers
        make().it_ended(DAMAGED.replace("3", f"{n}"), NOW + 30 * n)
    assert webhook.titles == ["spheroidd can't start"]
    text = webhook.messages[0]["message"]
    assert text.startswith("The database is damaged (0 pages). Bring back a backup.\n")
    assert text.endswith("spheroidd on lab-pc")
    make().it_ended("The model u2netp is missing.", NOW + 200)
    make().it_ended(DAMAGED, NOW + 300)
    assert len(webhook.titles) == 2
    make(remind_hours=None).it_ended(DAMAGED, NOW + 99 * HOUR)
    assert len(webhook.titles) == 2
    make().it_ended(DAMAGED, NOW + 25 * HOUR)
    assert len(webhook.titles) == 3


def test_what_is_over_is_told_by_the_daemon_that_runs(make: Make, webhook: Webhook) -> None:
    assert make().before() is None
    make().it_ended("The model u2netp is missing.", NOW)
    make().it_ended(DAMAGED, NOW + HOUR)
    previous = make().before()
    assert previous is not None
    told = crash(previous, NOW + 2 * HOUR)
    assert told.title == "spheroidd runs again; it was away for 2 h"
    assert "it could not start: The database is damaged" in told.body
    assert "last sign of life" not in told.body
    make().it_runs()
    assert make().before() is None
    make().it_ended(DAMAGED, NOW + 2 * HOUR)
    assert len(webhook.titles) == 3


def test_nobody_is_told_of_the_end_who_was_not_told_of_the_beginning(
    make: Make, webhook: Webhook
) -> None:
    webhook.answer = 500
    make().it_ended(DAMAGED, NOW)
    assert make().before() is None
    webhook.answer = 200
    make().it_ended(DAMAGED, NOW + 20)  # the network was late
    assert webhook.titles == ["spheroidd can't start"]
    assert make().before() is not None


def test_a_receiver_that_hangs_is_not_waited_for_nor_asked_each_time(
    make: Make, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(remind_hours=1).it_ended(DAMAGED, NOW)  # apprise is loaded
    monkeypatch.setattr(starting_module, "_MOST_SECONDS", 1.5)
    webhook.trickles = True
    taken = []
    for n in range(4):
        begun = time.monotonic()
        make().it_ended("The model is missing.", NOW + 20 * n)
        taken.append(time.monotonic() - begun)
    assert max(taken) < 10
    assert sum(one > 1.4 for one in taken) == 2, "the others were too soon after the second"


def test_without_a_state_folder_systemds_other_folders_remember(
    make: Make, tmp_path: Path, webhook: Webhook, captured_log: Log
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    gone = {"state_dir": tmp_path / "no" / "such"}
    for _ in range(2):
        make(**gone, environment={"CACHE_DIRECTORY": f"{cache}:/other"}).it_ended(DAMAGED, NOW)
    assert len(webhook.titles) == 1
    # Nothing remembers: rather too often than never.
    for _ in range(2):
        make(**gone).it_ended(DAMAGED, NOW)
    assert len(webhook.titles) == 3
    assert "may be told again" in captured_log[1][-1]["event"]
    # A file that is not whole is as good as none.
    (cache / "cannot-start.json").write_text('{"x": {"at": "y"')
    make(**gone, environment={"CACHE_DIRECTORY": str(cache)}).it_ended(DAMAGED, NOW)
    assert len(webhook.titles) == 4


def test_a_bad_address_keeps_no_other_from_being_told(make: Make, webhook: Webhook) -> None:
    bad = {"targets": ["slack://pa55w0rd", webhook.url], "targets_file": Path("/no/such/file")}
    make(**bad).it_ended("The new address slack://pa55w0rd is bad.", NOW)
    [message] = webhook.messages
    assert "The new address slack://… (alerts.targets[0]) is bad." in message["message"]
    make(targets=[]).it_ended(DAMAGED, NOW)  # there is nobody, which is no error
    assert len(webhook.messages) == 1


def test_no_secret_gets_out_and_nothing_is_raised(
    make: Make, tmp_path: Path, webhook: Webhook, captured_log: Log
) -> None:
    webhook.answer = 500
    make().it_ended(f"It failed at {webhook.url} and at ftp://us3r:pa55w0rd@server/.", NOW)
    make(targets=[5]).it_ended(DAMAGED, NOW)
    assert captured_log[1][-1]["event"] == "nobody could be told"
    kept = (tmp_path / "cannot-start.json").read_text()
    [entry] = json.loads(kept).values()
    assert entry["reason"] == "It failed at json://… (alerts.targets[0]) and at ftp://…@server/."
    kept += json.dumps(captured_log[1], default=str)
    for word in Webhook.SECRETS:
        assert word not in kept


def test_what_is_raised_is_told_and_raised_on(make: Make, webhook: Webhook) -> None:
    with pytest.raises(StoreError, match="damaged"), make().guard():
        raise StoreError("It is damaged.", "Mend it.")
    with pytest.raises(ZeroDivisionError), make().guard():
        _ = 1 / 0
    with make().guard():
        pass
    first = [message["message"].partition("\n")[0] for message in webhook.messages]
    assert first == ["It is damaged. Mend it.", "ZeroDivisionError: division by zero"]
