"""The web page's unit under a real systemd: what it forbids, the page can live without."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed import PREFIX, STATE, Service
from machine import Machine, booted, folders_of_the_program

from made_up import NOW, admission
from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.ledger import Ledger
from spheroidd.web.passwords import hash_password, hash_token

UNIT = "spheroidd-web.service"
VENV = Path(__file__).resolve().parents[2] / ".venv"
PASSWORD, TOKEN = "correct horse battery", "a-token-of-32-bytes-for-a-program"
ASK = """
import http.client, sys
method, path, token, body = sys.argv[1:]
to = http.client.HTTPConnection("127.0.0.1", 8765, timeout=30)
to.request(method, path, body or None, {"Authorization": f"Bearer {token}"} if token else {})
print(to.getresponse().status)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def machine(tmp_path: Path, home: Path) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("needs root, for a systemd in namespaces of its own")
    needed = folders_of_the_program(home)
    if hidden := [path for path in (VENV, *needed) if path.is_relative_to("/tmp")]:
        pytest.skip(f"the unit has a /tmp of its own (PrivateTmp), which hides {hidden[0]}")
    made = StateFolder(tmp_path / "made")
    made.create()
    with Database(made.database) as database:
        ledger = Ledger(database)
        ledger.arrive("/e", [("/e/a.jpg", 70846, int(NOW * 1e9))], NOW)
        ledger.admit(ledger.waiting("/e")[0].id, admission("A1", "a.jpg"), NOW)
    (tmp_path / "boot").mkdir()
    with booted(tmp_path / "boot", *needed) as machine:
        service = Service(machine)
        service.install(VENV, home.resolve())
        service.configure(
            web={"password": hash_password(PASSWORD), "tokens": {"robot": hash_token(TOKEN)}}
        )
        shutil.copytree(made.root, machine.path(STATE), dirs_exist_ok=True)
        machine.run("chown", "-R", "spheroidd:spheroidd", STATE)
        drop_ins = machine.path(f"/etc/systemd/system/{UNIT}.d")
        drop_ins.mkdir()
        (drop_ins / "quick.conf").write_text("[Service]\nRestartSec=0.1\nNice=0\nCPUWeight=100\n")
        machine.run("systemctl", "daemon-reload")
        yield machine


def ask(machine: Machine, method: str, path: str, token: str = "", body: str = "") -> str:
    """The status; empty: nobody answers."""
    python = f"{PREFIX}/venv/bin/python"
    return machine.run(python, "-c", ASK, method, path, token, body, check=False).stdout.strip()


def test_it_serves_restarts_and_does_not_start_open_to_all(machine: Machine) -> None:
    machine.run("systemctl", "start", UNIT)
    machine.wait_until(lambda: ask(machine, "GET", "/") == "303")
    # Templates, the database, pyarrow and scrypt, all without code made at run time.
    assert ask(machine, "GET", "/review", TOKEN) == "200"
    assert ask(machine, "GET", "/api/v1/status", TOKEN) == "200"
    assert ask(machine, "GET", "/api/v1/growth?format=parquet&plate=P", TOKEN) == "200"
    assert ask(machine, "POST", "/login", "", f"password={PASSWORD}&who=AB") == "303"

    before = machine.show(UNIT, "MainPID")["MainPID"]
    machine.run("kill", "-KILL", before)
    machine.wait_until(lambda: machine.show(UNIT, "NRestarts")["NRestarts"] == "1")
    machine.wait_until(lambda: ask(machine, "GET", "/") == "303")
    machine.run("systemctl", "stop", UNIT)
    assert machine.show(UNIT, "Result", "ActiveState") == {
        "Result": "success",
        "ActiveState": "inactive",
    }
    said = str(machine.journal(UNIT))
    assert "logged in" in said
    assert PASSWORD not in said
    assert TOKEN not in said

    Service(machine).configure(web={"host": "0.0.0.0"})
    machine.run("systemctl", "start", UNIT, check=False)
    machine.wait_until(lambda: machine.show(UNIT, "ActiveState")["ActiveState"] == "failed")
    assert machine.show(UNIT, "ExecMainStatus", "NRestarts")["ExecMainStatus"] == "78"
    assert "there is no password" in str(machine.journal(UNIT))
