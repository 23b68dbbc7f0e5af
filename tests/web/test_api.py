"""The read API over a filled state folder: what it answers, again, in pages, and to nonsense."""

import contextlib
import csv
import io
import json
import sqlite3
import tracemalloc
import urllib.parse
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI
from filled import AT, FRAMES, ODD, PLATE, TOKEN
from starlette.testclient import TestClient

from spheroidd.report.export import export_csv
from spheroidd.store import database as database_module
from spheroidd.store.database import Database, timestamp
from spheroidd.store.folder import StateFolder
from spheroidd.store.reader import Reader
from spheroidd.store.reading import GROWTH_COLUMNS, growth
from spheroidd.store.reviewing import Selection, events, selected
from spheroidd.store.reviews import Reviews, Subject
from spheroidd.web.api import growth as growth_module
from spheroidd.web.api.parquet import parquet_file
from spheroidd.web.api.tables import csv_file
from spheroidd.web.site import Site

Ask = Callable[..., Any]
ALL = (
    ("status", {}), ("plates", {}), ("runs", {}), ("events", {}), ("alerts", {}),
    ("plate", {"plate": PLATE}), ("well", {"plate": ODD, "well": "right/1"}),
    ("growth", {"plate": PLATE}), ("growth", {"plate": ODD, "format": "csv"}),
    ("growth", {"plate": PLATE, "format": "parquet"}), ("images", {}), ("images/7", {}),
    ("images/7/story", {}), ("images/7/mask", {"width": 160}), ("images/20/outline", {}),
    ("review", {}),
)  # fmt: skip


@pytest.fixture
def ask(looking: TestClient) -> Ask:
    """What a question that must be answered says."""

    def asked(path: str, **query: Any) -> Any:
        response = looking.get(f"/api/v1/{path}", params=query)
        assert response.status_code == 200, response.text
        return response.json()

    return asked


def rows_of(state: StateFolder, plate: str) -> list[dict[str, Any]]:
    with Reader(state.database) as reader:
        return growth(reader, plate)


def exported(state: StateFolder, plate: str) -> bytes:
    text = io.StringIO(newline="")
    with Reader(state.database) as reader:
        export_csv(reader, text, plate)
    return text.getvalue().encode()


def shown(state: StateFolder, **wanted: Any) -> list[dict[str, Any]]:
    with Reader(state.database) as reader:
        return selected(reader, Selection(**wanted))


def exclude(state: StateFolder, **wanted: Any) -> int:
    """As the command line does it, beside the web process."""
    found = shown(state, **wanted)
    subjects = [Subject(row["image_id"], row["measurement_id"]) for row in found]
    with Database(state.database) as database:
        return Reviews(database).exclude(subjects, AT, who="Bob", reason="a bubble")


# -- what is there ----------------------------------------------------------------------------


def test_the_service_at_a_glance(ask: Ask) -> None:
    found = ask("status")
    assert found["level"] == "warning", "two images have failed"
    assert found["headline"].startswith("Running. 2 plates, 68 images, 64 measured, 2 waiting; ")
    assert "10 images need review" in found["sentence"]
    assert found["now"] == AT
    assert [alert["key"] for alert in found["alerts"]] == [f"flags/{PLATE}/A2"]
    plates = ask("plates")
    assert [row["plate"] for row in plates] == [None, PLATE, ODD]
    assert [row["measured"] for row in plates] == [0, 56, 8]
    assert found["plates"] == plates
    assert [(run["plate"], run["kind"], run["chosen"]) for run in ask("runs")] == [
        (PLATE, "live", True), (PLATE, "again", False), (ODD, "live", True),
    ]  # fmt: skip
    assert len(ask("runs", plate=ODD)) == 1
    assert [(one["key"], one["ended_at"] is None) for one in ask("alerts", limit=1)] == [
        (f"flags/{PLATE}/A2", True), ("disk", False),
    ]  # fmt: skip


def test_a_plate_and_a_well(ask: Ask, filled_once: StateFolder) -> None:
    found = ask("plate", plate=PLATE)
    assert found["geometry"] == {"kind": "plate", "wells": 96, "rows": 8, "columns": 12}
    assert found["unit"] == "µm²"
    wells = {well["well"]: well for well in found["wells"]}
    assert [s["field"] for s in wells["B1"]["series"]] == ["1", "2"]
    [series] = wells["A2"]["series"]
    rows = [row for row in rows_of(filled_once, PLATE) if row["well"] == "A2"]
    assert series["area"] == pytest.approx([row["area_um2"] for row in rows], rel=1e-3)
    assert series["flagged"] == [3, 5]

    found = ask("well", plate=PLATE, well="A1")
    assert (found["previous"], found["next"], found["unit"]) == (None, "A2", "µm²")
    assert [frame["state"] for frame in found["frames"]] == ["measured"] * FRAMES + ["failed"]
    assert found["frames"][-1]["reason"].endswith("It is cut short.")
    odd = ask("well", plate=ODD, well="right/1")
    assert (odd["previous"], odd["next"], odd["unit"]) == ("left", None, "px")
    empty = ask("well", plate=PLATE, well="C3")
    assert [frame["state"] for frame in empty["frames"]] == ["segmented"]


def test_everything_of_one_image(ask: Ask, filled_once: StateFolder) -> None:
    [row] = shown(filled_once, plate=PLATE, well="A2", timepoint=6)
    found = ask(f"images/{row['image_id']}")
    assert (found["plate"], found["well"], found["hours"]) == (PLATE, "A2", 10.0)
    assert found["measurement"]["flags"] == ["area_jump", "several_objects"]
    assert found["measurement"]["checks"]["area_jump"] == {
        "value": 0.9, "limit": 0.25, "raised": True,
    }  # fmt: skip
    assert [one["area_px"] for one in found["objects"]][1:] == [420.0, 130.0]
    assert found["objects"][0]["features"]["AreaShape_Solidity"] == 0.97
    assert found["segmentation"]["evidence"]["agreement"] == 0.98
    assert (found["batch"]["cellprofiler"], found["run"]["kind"]) == ("4.2.8.1", "live")
    kinds = [one["kind"] for one in ask(f"images/{row['image_id']}/story")]
    assert kinds.count("step") == 4
    assert {"segmentation", "batch", "measurement"} <= set(kinds)


def test_what_people_settled(ask: Ask) -> None:
    found = ask("events")["rows"]
    assert [(one["action"], one["who"], one["reason"]) for one in found] == [
        ("confirm", "Ada", ""), ("exclude", "Ada", "a bubble"),
    ]  # fmt: skip
    assert ask("events", plate=PLATE, well="A12")["rows"] == found
    assert ask("events", plate=ODD)["rows"] == []
    first = ask("events", limit=1)
    assert ask("events", limit=1, after=first["next"]) == {"rows": found[1:], "next": None}


def test_the_review_queue_is_worst_first_with_all_that_may_be_chosen(ask: Ask) -> None:
    found = ask("review")
    assert found["total"] == 10
    assert [row["flags"] for row in found["rows"][:3]] == [
        ["area_jump", "several_objects"], ["area_jump"], ["no_spheroid"],
    ]  # fmt: skip
    worst = found["rows"][0]
    assert [(one["number"], one["is_spheroid"]) for one in worst["objects"]] == [
        (1, True), (2, False), (3, False),
    ]  # fmt: skip
    assert worst["objects"][0]["box"] == [100, 80, 180, 160]
    assert worst["checks"]["area_jump"] == {"value": 0.9, "limit": 0.25}
    assert worst["outline"] is True
    few = ask("review", limit=1, flag="area_jump")
    assert (len(few["rows"]), few["total"]) == (1, 2)
    assert ask("review", plate=ODD) == {"rows": [], "total": 0}


# -- the growth table -------------------------------------------------------------------------


@pytest.mark.parametrize("plate", [PLATE, ODD])
def test_the_csv_is_what_export_writes(
    looking: TestClient, filled_once: StateFolder, plate: str
) -> None:
    asked = {"params": {"plate": plate}}
    whole = exported(filled_once, plate)
    by_name = looking.get("/api/v1/growth", params={"plate": plate, "format": "csv"})
    assert by_name.content == whole
    assert by_name.headers["content-type"] == "text/csv; charset=utf-8"
    liked = {"Accept": "application/json;q=0.5, text/csv;q=0.9, application/x-other"}
    by_header = looking.get("/api/v1/growth", **asked, headers=liked)
    assert by_header.content == whole
    assert "Accept" in by_header.headers["vary"]
    assert by_header.headers["etag"] == by_name.headers["etag"]
    assert looking.get("/api/v1/growth", **asked, headers={"Accept": "*/*"}).json()["rows"]


def test_one_well_as_csv(looking: TestClient, filled_once: StateFolder) -> None:
    query = {"plate": ODD, "well": "right/1", "format": "csv"}
    text = looking.get("/api/v1/growth", params=query).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["well"] for row in rows] == ["right/1"] * 4
    assert text.splitlines()[1:] == exported(filled_once, ODD).decode().splitlines()[5:]


def test_a_file_is_called_after_the_plate_whatever_it_is_called(looking: TestClient) -> None:
    query = {"plate": ODD, "well": "right/1", "format": "csv"}
    said = looking.get("/api/v1/growth", params=query).headers["content-disposition"]
    assert said.isascii()
    plain, real = said.removeprefix("attachment; ").split("; ")
    assert plain == 'filename="growth_Plate_xe9_2_x_b_amp_b_right_1.csv"'
    kind, name = real.split("''")
    assert kind == "filename*=UTF-8"
    assert set(name) <= set(urllib.parse.quote(name, safe="%"))
    assert urllib.parse.unquote(name) == ('growth Plate _xe9_№2 "x" <b>&amp;<_b> right_1.csv'), (
        "nothing in it leads to another folder"
    )


def test_parquet_has_types(looking: TestClient, filled_once: StateFolder) -> None:
    response = looking.get("/api/v1/growth", params={"plate": PLATE, "format": "parquet"})
    assert response.headers["content-type"] == "application/vnd.apache.parquet"
    table = pq.read_table(io.BytesIO(response.content))
    assert table.column_names == list(GROWTH_COLUMNS)
    assert table.schema.metadata[b"plate"] == PLATE.encode()
    assert table.schema.field("area_um2").metadata[b"unit"] == "µm²".encode()
    rows = rows_of(filled_once, PLATE)
    frame = pd.read_parquet(io.BytesIO(response.content))
    assert str(frame["captured_at"].dtype) == "datetime64[ms, UTC]"
    assert frame["captured_at"][0].to_pydatetime() == datetime.fromisoformat(
        rows[0]["captured_at"]
    ).astimezone(UTC)
    assert frame["excluded"].tolist() == [bool(row["excluded"]) for row in rows]
    for name in ("hours", "area_px", "area_um2", "relative_area_pct"):
        assert table[name].to_pylist() == [row[name] for row in rows]
    odd = looking.get("/api/v1/growth", params={"plate": ODD, "format": "parquet"})
    table = pq.read_table(io.BytesIO(odd.content))
    assert table["area_um2"].null_count == table.num_rows == 8
    assert table["plate"][0].as_py() == ODD


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_is_of_one_moment_whatever_is_written_meanwhile(
    client: TestClient, state: StateFolder, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first well is read, the last one is excluded, and an image comes in that was
    taken before all others: hours count from it now."""
    before = rows_of(state, PLATE)
    really = growth_module.growth_of

    def meanwhile(reader: Reader, plate: str, well: str) -> list[dict[str, Any]]:
        if well == "A1":
            with contextlib.closing(sqlite3.connect(state.database)) as daemon, daemon:
                daemon.execute("UPDATE images SET excluded = 1 WHERE well = 'H12'")
                daemon.execute("UPDATE images SET captured_at = '2023-11-01' WHERE well = 'C3'")
        return really(reader, plate, well)

    monkeypatch.setattr(growth_module, "growth_of", meanwhile)
    content = client.get("/api/v1/growth", params={"plate": PLATE, "format": kind}).content
    read = pd.read_csv if kind == "csv" else pd.read_parquet
    found = read(io.BytesIO(content))
    assert found["hours"].tolist() == [row["hours"] for row in before]
    assert found["excluded"].astype(int).tolist() == [row["excluded"] for row in before]
    after = rows_of(state, PLATE)
    assert [row["hours"] for row in after] != [row["hours"] for row in before]


def test_no_plate_is_too_large_for_memory(filled_once: StateFolder) -> None:
    """30,000 rows take 40 MB where they are held at once."""
    [row, *_] = rows_of(filled_once, PLATE)

    def many() -> Iterator[dict[str, Any]]:
        for number in range(30_000):
            yield {**row, "image_path": f"/e/{number}", "area_px": float(number)}

    tracemalloc.start()
    with csv_file(many()) as file:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert file.seek(0, 2) > 4_000_000
    assert peak < 10_000_000
    with parquet_file(many(), PLATE) as file:
        written = pq.ParquetFile(file).metadata
    assert (written.num_rows, written.num_row_groups) == (30_000, 3)


# -- pages ------------------------------------------------------------------------------------


def walked(ask: Ask, path: str, between: Callable[[], object] = int, **query: Any) -> list[Any]:
    """All rows, page by page; something may happen between two pages."""
    rows, after = [], {}
    while True:
        page = ask(path, **query, **after)
        assert len(page["rows"]) <= query["limit"]
        rows += page["rows"]
        if page["next"] is None:
            return rows
        after = {"after": page["next"]}
        between()


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 56, 1000])
def test_pages_are_the_table(ask: Ask, filled_once: StateFolder, limit: int) -> None:
    rows = rows_of(filled_once, PLATE)
    assert walked(ask, "growth", plate=PLATE, limit=limit) == rows
    assert walked(ask, "growth", plate=PLATE, well="B1", limit=limit) == [
        row for row in rows if row["well"] == "B1"
    ]


def test_pages_tell_nothing_twice_and_leave_nothing_out_while_images_change(
    client: TestClient, state: StateFolder
) -> None:
    """Half of well A1 is read when the last image that was told is replaced."""

    def ask(path: str, **query: Any) -> Any:
        return client.get(f"/api/v1/{path}", params=query).json()

    first = ask("growth", plate=PLATE, limit=4)
    told = first["rows"][-1]
    with Database(state.database) as database, database.write() as sql:
        sql.execute("UPDATE images SET state = 'superseded' WHERE path = ?", [told["image_path"]])
    rest = walked(ask, "growth", plate=PLATE, limit=1000, after=first["next"])
    paths = [row["image_path"] for row in first["rows"] + rest]
    assert len(paths) == len(set(paths)) == 56
    assert set(paths) == {row["image_path"] for row in rows_of(state, PLATE)} | {told["image_path"]}


def test_images_page_by_page(ask: Ask) -> None:
    every = ask("images", limit=1000)["rows"]
    assert len(every) == 68, "all but the superseded one"
    assert walked(ask, "images", limit=9) == every
    failed = walked(ask, "images", state="failed", limit=1)
    assert [row["reason"].partition(": ")[2] for row in failed] == [
        "It is cut short.", "It can't be read: denied.",
    ]  # fmt: skip
    assert len(ask("images", plate=PLATE, well="B1")["rows"]) == 2 * FRAMES


# -- asked again ------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "query"), ALL, ids=[f"{path}{len(q)}" for path, q in ALL])
def test_what_has_not_changed_is_not_sent_again(
    looking: TestClient, path: str, query: dict[str, Any]
) -> None:
    first = looking.get(f"/api/v1/{path}", params=query)
    assert first.status_code == 200
    for known in (first.headers["etag"], f'"another", {first.headers["etag"]}', "*"):
        again = looking.get(f"/api/v1/{path}", params=query, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    other = looking.get(f"/api/v1/{path}", params=query, headers={"If-None-Match": '"another"'})
    assert other.status_code == 200
    assert path == "status" or other.content == first.content  # it tells the disk's free bytes


def test_what_has_changed_is_sent_again_and_nothing_else(
    client: TestClient, state: StateFolder
) -> None:
    asked = [
        ("plate", {"plate": PLATE}), ("well", {"plate": PLATE, "well": "A1"}),
        ("growth", {"plate": PLATE}), ("growth", {"plate": PLATE, "format": "csv"}),
        ("events", {}), ("status", {}), ("images/2", {}), ("images/2/story", {}),
    ]  # fmt: skip
    still = [("plate", {"plate": ODD}), ("growth", {"plate": ODD}), ("images/7", {}),
             ("images/2/outline", {})]  # fmt: skip

    def tags(questions: list[Any]) -> list[str]:
        return [client.get(f"/api/v1/{p}", params=q).headers["etag"] for p, q in questions]

    changing, staying = tags(asked), tags(still)
    exclude(state, plate=PLATE, well="A1", timepoint=1)
    assert not set(changing) & set(tags(asked))
    assert tags(still) == staying


def test_an_unchanged_plate_costs_no_look_at_its_images(
    client: TestClient, site_app: FastAPI
) -> None:
    query = {"plate": PLATE, "format": "csv"}
    tag = client.get("/api/v1/growth", params=query).headers["etag"]
    asked: list[str] = []
    site: Site = site_app.state.site
    with site.readers.get() as reader:
        reader._connection.set_trace_callback(asked.append)
    headers = {"If-None-Match": tag}
    assert client.get("/api/v1/growth", params=query, headers=headers).status_code == 304
    assert asked, "it is the connection that answered"
    assert not [sql for sql in asked if "growth" in sql or "measurements" in sql]


# -- what can't be answered ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "query", "status", "words"),
    [
        ("plate", {"plate": "P?"}, 404, "There are: 20230915 - CQ22 3D, Plate \\xe9/№2"),
        ("well", {"plate": PLATE, "well": "a1"}, 404, "There are: A1, A2, A12, B1, C3, H1, H12."),
        ("growth", {"plate": PLATE, "well": "left"}, 404, "no well left on plate 20230915"),
        ("growth", {"plate": "\x00"}, 404, "There is no plate \\x00."),
        ("runs", {"plate": ""}, 404, "There is no plate"),
        ("images", {"well": "A1"}, 422, "without its plate"),
        ("images", {"state": "superseded"}, 422, "state: Input should be 'waiting'"),
        ("images", {"limit": 0}, 422, "limit"),
        ("images", {"limit": 1001}, 422, "limit"),
        ("images", {"after": 2**60}, 422, "after"),
        ("images/0", {}, 422, "image_id"),
        ("images/99999", {}, 404, "There is no image 99999."),
        ("images/99999/story", {}, 404, "There is no image 99999."),
        ("images/7/mask", {"width": 161}, 422, "160, 320, 640 or 1280"),
        ("growth", {"plate": PLATE, "format": "xlsx"}, 422, "format"),
        ("growth", {"plate": PLATE, "after": "rubbish"}, 422, "not what `next` said"),
        ("growth", {"plate": PLATE, "after": "WyJaIiwiIiwiIl0"}, 422, "not of this list"),
        ("growth", {}, 422, "plate: Field required"),
        ("nothing", {}, 404, "Not Found"),
    ],
)
def test_what_can_not_be_answered_says_why(
    looking: TestClient, path: str, query: dict[str, Any], status: int, words: str
) -> None:
    response = looking.get(f"/api/v1/{path}", params=query)
    assert response.status_code == status
    said = response.json()
    assert set(said) == {"error", "hint"}
    assert words in f"{said['error']} {said['hint']}"


def test_without_a_database_it_says_what_to_do(client: TestClient, state: StateFolder) -> None:
    for path in state.root.glob("spheroidd.db*"):
        path.unlink()
    for path, query in (("status", {}), ("growth", {"plate": PLATE})):
        response = client.get(f"/api/v1/{path}", params=query)
        assert response.status_code == 503
        assert "Start the daemon" in response.json()["hint"]
    assert not state.database.exists(), "only the daemon makes one"


# -- settling -----------------------------------------------------------------------------------


@pytest.fixture
def settle(client_with_password: TestClient) -> Ask:
    """Send an action as a program with a token does; returns status and what was said."""

    def settled(path: str = "review", **action: Any) -> tuple[int, Any]:
        client_with_password.headers["Authorization"] = f"Bearer {TOKEN}"
        headers = {"Content-Type": "application/json"}
        sent = json.dumps(action)  # in ASCII, so that it can hold what UTF-8 can't
        response = client_with_password.post(f"/api/v1/{path}", content=sent, headers=headers)
        return response.status_code, response.json()

    return settled


def as_seen(state: StateFolder, **wanted: Any) -> dict[str, Any]:
    """What a page knows of one image."""
    [row] = shown(state, plate=PLATE, **wanted)
    names = ("image_id", "measurement_id", "object_number", "area_px")
    return json.loads(json.dumps({name: row[name] for name in names}))


def test_settling_makes_the_records_that_the_command_line_makes(
    settle: Ask, state: StateFolder
) -> None:
    seen = as_seen(state, well="A2", timepoint=6)
    assert settle(action="choose", choose=2, who="Ada", **seen) == (200, {"event": 3})
    again = as_seen(state, well="A2", timepoint=6)
    assert (again["object_number"], again["area_px"]) == (2, 420.0)
    assert settle(action="exclude", reason="debris", who="Cé", **again) == (200, {"event": 4})
    assert settle(action="confirm", **again) == (200, {"event": 5})
    assert settle("review/undo", event=4) == (
        200, {"event": 6, "images": [seen["image_id"]], "left": {}},
    )  # fmt: skip
    assert settle(action="restore", who="Ada", **again) == (200, {"event": 7})
    with Reader(state.database) as reader:
        found = events(reader, Selection(plate=PLATE, well="A2"))
    assert [(one["action"], one["who"], one["reason"], one["at"]) for one in found] == [
        ("choose", "Ada", "", timestamp(AT)), ("exclude", "Cé", "debris", timestamp(AT)),
        ("confirm", "robot", "", timestamp(AT)), ("restore", "robot", "", timestamp(AT)),
        ("restore", "Ada", "", timestamp(AT)),
    ]  # fmt: skip
    assert as_seen(state, well="A2", timepoint=6) == seen


def test_what_has_become_another_since_is_not_settled(settle: Ask, state: StateFolder) -> None:
    seen = as_seen(state, well="A2", timepoint=6)
    assert settle(action="choose", choose=3, **seen)[0] == 200
    status, said = settle(action="confirm", **seen)
    assert status == 409
    assert "was judged anew since it was looked at" in said["error"]
    status, said = settle(action="choose", choose=9, **as_seen(state, well="A2", timepoint=6))
    assert status == 409
    assert "It has 1 (area " in said["hint"]
    status, said = settle(action="confirm", **{**seen, "image_id": 99999})
    assert (status, said["hint"]) == (
        409, "Look at it again and decide then; nothing was changed.",
    )  # fmt: skip
    status, said = settle("review/undo", event=77)
    assert (status, said["error"]) == (409, "There is no event 77.")
    assert settle("review/undo", event=3)[0] == 200
    assert settle("review/undo", event=3)[0] == 409, "there is nothing left to put back"


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"action": "exclude", "reason": "  "}, 409, "Excluding needs a reason."),
        ({"action": "confirm", "who": " "}, 409, "A decision needs the name of who made it."),
        ({"action": "confirm", "choose": 1}, 422, "with the action `choose` alone"),
        ({"action": "choose"}, 422, "with the action `choose` alone"),
        ({"action": "delete"}, 422, "action"),
        ({"action": "confirm", "force": True}, 422, "force: Extra inputs are not permitted"),
        ({"action": "confirm", "image_id": "2"}, 422, "image_id: Input should be a valid integer"),
        ({"action": "confirm", "image_id": 2**63}, 422, "image_id"),
        ({"action": "confirm", "area_px": "NaN"}, 422, "area_px"),
        ({"action": "confirm", "who": "x" * 101}, 422, "who"),
        ({"action": "exclude", "reason": "\ud800"}, 422, "reason"),
    ],
)
def test_rules_of_settling(
    settle: Ask, state: StateFolder, changes: dict[str, Any], status: int, words: str
) -> None:
    seen = as_seen(state, well="A1", timepoint=2)
    got, said = settle(**{**seen, **changes})
    assert got == status, said
    assert words in said["error"]
    with Reader(state.database) as reader:
        assert len(events(reader, Selection())) == 2, "nothing was written"


def test_a_choice_of_another_run_is_not_undone_in_this_one(settle: Ask, state: StateFolder) -> None:
    seen = as_seen(state, well="A1", timepoint=2)
    assert settle(action="choose", choose=0, **seen)[0] == 200
    with Database(state.database) as database, database.write() as sql:
        sql.execute("UPDATE measurements SET current = 0 WHERE id = ?", [seen["measurement_id"]])
    status, said = settle("review/undo", event=3)
    assert status == 409
    assert "Another run is shown in place of 1 results that event 3 settled." in said["error"]


def test_without_a_password_looking_is_free_and_deciding_is_not(
    client: TestClient, state: StateFolder
) -> None:
    seen = as_seen(state, well="A1", timepoint=2)
    response = client.post("/api/v1/review", json={"action": "confirm", "who": "Ada", **seen})
    assert response.status_code == 403
    assert "hash-password" in response.json()["hint"]


def test_a_locked_database_says_so(
    settle: Ask, state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.1)
    seen = as_seen(state, well="A1", timepoint=2)
    other = sqlite3.connect(state.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        status, said = settle(action="confirm", **seen)
    finally:
        other.close()
    assert status == 503
    assert "locked" in said["error"]
    assert settle(action="confirm", **seen) == (200, {"event": 3}), "and is well again"
