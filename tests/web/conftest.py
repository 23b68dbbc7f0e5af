"""What the tests of the web process stand on: a filled state folder, and the site over it.

state                  the folder (StateFolder), a copy of its own for each test
site_app               the application over it, without a password; the clock stands at `AT`
client                 a client of that, on loopback; live view and all are running
client_with_password   a client of a site with password and token; it is not logged in
filled.py              what is in the folder, and what it is called
"""

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import filled
import pytest
import structlog
from fastapi import FastAPI

from spheroidd.store.folder import StateFolder
from spheroidd.web.app import Settings, create_app
from spheroidd.web.passwords import hash_password, hash_token

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have httpx2
    from starlette.testclient import TestClient

ADDRESS = "http://127.0.0.1:8765"


@pytest.fixture(scope="session")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> StateFolder:
    """Never to be changed: tests get copies."""
    return filled.fill(tmp_path_factory.mktemp("filled") / "state")


@pytest.fixture(scope="session")
def password_hash() -> str:
    """Made once: it is slow on purpose."""
    return hash_password(filled.PASSWORD)


@pytest.fixture(scope="session")
def looking(
    filled_once: StateFolder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    copied = shutil.copytree(filled_once.root, tmp_path_factory.mktemp("looking") / "state")
    app = create_app(Settings(StateFolder(copied)), structlog.get_logger(), lambda: filled.AT)
    with TestClient(app, ADDRESS, client=("127.0.0.1", 50000)) as client:
        yield client


@pytest.fixture
def state(filled_once: StateFolder, tmp_path: Path) -> StateFolder:
    copied = tmp_path / "state"
    shutil.copytree(filled_once.root, copied)
    return StateFolder(copied)


@pytest.fixture
def site_app(state: StateFolder) -> FastAPI:
    return create_app(Settings(state), structlog.get_logger(), lambda: filled.AT)


@pytest.fixture
def client(site_app: FastAPI) -> Iterator[TestClient]:
    with TestClient(site_app, ADDRESS, client=("127.0.0.1", 50000)) as client:
        yield client


@pytest.fixture
def client_with_password(state: StateFolder, password_hash: str) -> Iterator[TestClient]:
    """Log in with `filled.PASSWORD`, or send `Authorization: Bearer` and `filled.TOKEN`."""
    settings = Settings(state, password=password_hash, tokens={"robot": hash_token(filled.TOKEN)})
    app = create_app(settings, structlog.get_logger(), lambda: filled.AT)
    with TestClient(app, ADDRESS, client=("127.0.0.1", 50000)) as client:
        yield client
