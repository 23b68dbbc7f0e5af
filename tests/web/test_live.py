"""What changes is told to every open page, once, in time, and to nobody who does not listen."""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from filled import AT, PLATE

from spheroidd.store.database import Database
from spheroidd.store.folder import StateFolder
from spheroidd.store.reader import Reader
from spheroidd.store.reviews import Reviews, Subject
from spheroidd.web import live as live_module
from spheroidd.web.curves import Curves
from spheroidd.web.live import Live
from spheroidd.web.site import Readers

IN_TIME = 2.0  # seconds from a commit to every open page: the promise
PATIENCE = 30.0


@contextlib.contextmanager
def started(database: Path, overview: Callable[[Reader], dict[str, Any]]) -> Iterator[Live]:
    readers = Readers(database)
    made = Live(readers, Curves(readers.get), overview, structlog.get_logger())
    made.start()
    try:
        yield made
    finally:
        made.stop()
        readers.close()


@pytest.fixture
def live(state: StateFolder) -> Iterator[Live]:
    with started(state.database, counted) as made:
        yield made


def counted(reader: Reader) -> dict[str, Any]:
    [row] = reader.rows("SELECT count(*) AS n FROM images WHERE excluded")
    return {"excluded": row["n"]}


def exclude_one(state: StateFolder) -> tuple[str, int]:
    """The first image that can be; returns its well and number."""
    with Database(state.database) as database:
        [row] = database.rows(
            "SELECT i.id, i.well, m.id AS measurement FROM images i JOIN measurements m"
            " ON m.image_id = i.id AND m.current"
            " WHERE i.plate = :plate AND NOT i.excluded AND i.well = 'A1' LIMIT 1",
            {"plate": PLATE},
        )
        subject = Subject(row["id"], row["measurement"])
        Reviews(database).exclude([subject], AT, who="Ada", reason="a bubble")
    return row["well"], row["id"]


async def next_event(events: AsyncIterator[bytes], name: str) -> Any:
    """The next one of this name."""
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            head, _, data = event.decode().removesuffix("\n\n").partition("\ndata: ")
            assert "\n" not in data
            if head == f"event: {name}":
                return json.loads(data)
    raise AssertionError(f"no {name} came")


def test_a_change_reaches_every_viewer_in_time(live: Live, state: StateFolder) -> None:
    async def watch() -> list[tuple[float, Any, Any]]:
        async def one() -> tuple[float, Any, Any]:
            events = live.events(PLATE)
            await next_event(events, "status")  # it has looked
            ready.release()
            wells = await next_event(events, "wells")
            at = time.monotonic()
            status = await next_event(events, "status")
            while status["excluded"] != 2:
                status = await next_event(events, "status")
            await events.aclose()  # type: ignore[attr-defined]
            return at, wells, status

        ready = asyncio.Semaphore(0)
        watching = [asyncio.create_task(one()) for _ in range(20)]
        for _ in watching:
            await ready.acquire()
        nonlocal well, image, changed_at
        well, image = await asyncio.to_thread(exclude_one, state)
        changed_at = time.monotonic()
        return await asyncio.gather(*watching)

    well, image, changed_at = "", 0, 0.0
    seen = asyncio.run(watch())
    assert max(at for at, _, _ in seen) - changed_at < IN_TIME
    for _, wells, _ in seen:
        assert wells["plate"] == PLATE
        [changed] = wells["wells"]
        assert changed["well"] == well
        [series] = changed["series"]
        assert [series["image"][n] for n in series["excluded"]] == [image]
    assert live.viewers == 0


def test_wells_of_other_plates_are_not_told(live: Live, state: StateFolder) -> None:
    async def watch() -> list[bytes]:
        events, told = live.events("another plate"), []
        await next_event(events, "hello")
        await asyncio.to_thread(exclude_one, state)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3 * live_module.LOOK_SECONDS):
                while True:
                    told.append(await anext(events))
        return told

    assert not [event for event in asyncio.run(watch()) if b"event: wells" in event]


def test_who_does_not_read_is_let_go(live: Live, state: StateFolder) -> None:
    async def watch() -> int:
        events = live.events(PLATE)
        await next_event(events, "hello")
        [viewer] = live._viewers
        for _ in range(live_module._WAITING + 1):
            viewer.put(b"event: wells\ndata: {}\n\n")
        return len([event async for event in events])

    assert asyncio.run(watch()) == 0
    assert live.viewers == 0


def test_a_restored_database_is_looked_at_anew(live: Live, state: StateFolder) -> None:
    async def watch() -> Any:
        events = live.events(PLATE)
        await next_event(events, "status")
        live._curves.view(PLATE)
        copy = state.root / "copy.db"
        with (
            contextlib.closing(sqlite3.connect(state.database)) as old,
            contextlib.closing(sqlite3.connect(copy)) as new,
        ):
            old.backup(new)
            new.execute("PRAGMA journal_mode=WAL")
        for ending in ("-wal", "-shm"):
            state.database.with_name(state.database.name + ending).unlink(missing_ok=True)
        copy.replace(state.database)
        await next_event(events, "hello")  # everybody asks for everything
        assert live._curves.plates == [], "and gets nothing of before"
        await asyncio.to_thread(exclude_one, state)
        return await next_event(events, "wells")

    assert asyncio.run(watch())["wells"][0]["well"] == "A1"


def test_a_database_that_is_not_there_yet_is_waited_for(
    tmp_path_factory: pytest.TempPathFactory, state: StateFolder
) -> None:
    elsewhere = StateFolder(tmp_path_factory.mktemp("later"))

    async def watch(live: Live) -> Any:
        events = live.events(None)
        await next_event(events, "hello")
        await asyncio.sleep(2 * live_module.LOOK_SECONDS)
        with contextlib.closing(sqlite3.connect(state.database)) as there:
            there.execute("VACUUM INTO ?", [str(elsewhere.database)])
        return await next_event(events, "status")

    with started(elsewhere.database, counted) as live:
        assert asyncio.run(watch(live)) == {"excluded": 1}


def test_all_are_let_go_when_it_ends(live: Live) -> None:
    async def watch() -> list[bytes]:
        events = live.events(None)
        await next_event(events, "hello")
        asyncio.get_running_loop().call_later(0.2, live.let_go)
        async with asyncio.timeout(PATIENCE):
            return [event async for event in events]

    began = time.monotonic()
    asyncio.run(watch())
    assert time.monotonic() - began < live_module.PING_SECONDS / 2


def test_the_overview_may_cost_a_tenth_and_no_more(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown by counting: a look that takes half a second of work is taken every five."""
    taken: list[float] = []

    def slow(_: Reader) -> dict[str, Any]:
        taken.append(time.monotonic())
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass
        return {}

    async def watch(live: Live, write: Callable[[], object]) -> None:
        events = live.events(None)
        for _ in range(2):
            await next_event(events, "status")
            await asyncio.to_thread(write)

    with started(state.database, slow) as live:
        asyncio.run(watch(live, lambda: exclude_one(state)))
    assert taken[1] - taken[0] >= 2.0


def test_only_a_look_that_went_well_is_told(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a page would call itself live while nobody can read the database."""
    monkeypatch.setattr(live_module, "PING_SECONDS", 0.1)

    async def told(events: AsyncIterator[bytes], looks: int) -> list[bytes]:
        found = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(looks * live_module.LOOK_SECONDS):
                while True:
                    found.append(await anext(events))
        return found

    async def watch(live: Live) -> None:
        await next_event(live.events(None), "ping")
        away = state.database.rename(state.database.with_suffix(".away"))
        await asyncio.sleep(2 * live_module.LOOK_SECONDS)  # one may have been under way
        events = live.events(None)
        assert await told(events, 4) == [live_module._HELLO]
        away.rename(state.database)
        await next_event(live.events(None), "ping")

    with started(state.database, counted) as live:
        asyncio.run(watch(live))


def test_nothing_ends_the_thread(state: StateFolder) -> None:
    told: list[str] = []

    def faulty(reader: Reader) -> dict[str, Any]:
        if not told:
            told.append("once")
            raise ZeroDivisionError("a mistake of ours")
        return counted(reader)

    async def watch(live: Live) -> Any:
        return await next_event(live.events(None), "status")

    with structlog.testing.capture_logs() as log, started(state.database, faulty) as live:
        assert asyncio.run(watch(live)) == {"excluded": 1}
    assert [(entry["reason"], entry["exc_info"]) for entry in log] == [("a mistake of ours", True)]


def test_who_is_too_many_hears_nothing(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a hello: its page would ask for everything again and again."""
    monkeypatch.setattr(live_module, "_MOST_VIEWERS", 0)

    async def watch() -> list[bytes]:
        return [event async for event in live.events(PLATE)]

    assert asyncio.run(watch()) == []
