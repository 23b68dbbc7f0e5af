"""`spheroidd alerts` as people type it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from receivers import Mailbox, Webhook
from spheroidd.store.alerting import Alert, Alerting
from spheroidd.store.database import Database
from spheroidd.store.sights import Sights

NOW = 1_700_000_000.0
WriteConfig = Callable[..., Path]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spheroidd", "alerts", *words],
        capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "NO_PROXY": "*", **environment},
    )  # fmt: skip


def test_a_test_reaches_every_target_and_shows_no_secret(
    write_config: WriteConfig, tmp_path: Path, webhook: Webhook, mailbox: Mailbox
) -> None:
    file = tmp_path / "targets"
    file.write_text(f"# the lab\n{mailbox.url}\n")
    config = write_config(alerts={"targets": [webhook.url], "targets_file": str(file)})
    down = webhook.url.replace(f":{webhook.port}", ":9")
    done = run("test", "-c", str(config), SPHEROIDD_ALERTS=down)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "json://… (alerts.targets[0]): sent",
        "mailto://… (targets, line 2): sent",
        "json://… (SPHEROIDD_ALERTS, number 1): it refuses connections",
    ]
    assert webhook.titles == ["spheroidd: a test"]
    assert "Subject: spheroidd: a test" in mailbox.mails[0]
    assert "everybody on this machine may read" in done.stderr
    for word in Webhook.SECRETS:
        assert word not in done.stdout + done.stderr


def test_a_bad_target_is_a_bad_configuration(write_config: WriteConfig) -> None:
    config = write_config(alerts={"targets": ["json://good/x", "slack://pa55w0rd"]})
    done = run("test", "-c", str(config))
    assert done.returncode == 78
    assert "slack://… (alerts.targets[1])" in done.stderr
    assert "pa55w0rd" not in done.stdout + done.stderr
    done = run("test", "-c", str(write_config()))
    assert done.returncode == 1
    assert "nobody to tell" in done.stderr


def test_the_credential_can_be_tried_by_hand(
    write_config: WriteConfig, tmp_path: Path, webhook: Webhook
) -> None:
    """As docs/operating.md has it, without any URL on a command line."""
    (tmp_path / "alerts").write_text(f"{webhook.url}\n")
    done = run("test", "-c", str(write_config()), CREDENTIALS_DIRECTORY=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "json://… (alerts, line 1): sent\n")
    text = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    command = "sudo CREDENTIALS_DIRECTORY=/etc/spheroidd spheroidd alerts test -c /etc/spheroidd/"
    assert command in text
    assert "SPHEROIDD_ALERTS=" not in text


def test_the_list_shows_what_is_open_first(write_config: WriteConfig, tmp_path: Path) -> None:
    config = write_config()
    (tmp_path / "state").mkdir()
    with Database(tmp_path / "state" / "spheroidd.db") as database:
        table = Alerting(database, Sights(database.path))
        table.change([Alert("disk", True, "The disk is nearly full", "1 GB")], [], NOW)
        crash = Alert("crash", False, "spheroidd runs again", "")
        table.happened(crash, NOW, NOW, told=None, quietly=False)
        table.not_told([1], "json://…: it refuses connections")
    shown = run("list", "-c", str(config)).stdout
    assert shown.index("The disk is nearly full") < shown.index("spheroidd runs again")
    assert "no: json://…: it refuses connections (tried 1 times)" in shown
    found = json.loads(run("list", "-c", str(config), "--json", "--limit", "1").stdout)
    assert [(row["key"], row["open"], row["urgent"]) for row in found] == [("disk", True, 1)]
