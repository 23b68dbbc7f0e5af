"""A state folder as a few days of two experiments leave it, made through the store's own classes.

`PLATE` has names of a 96-well plate and a known pixel size, `ODD` free-form positions, a name
that needs care everywhere, and no pixel size.  What is where:

    PLATE A1   8 frames; frame 1 replaced an older version; one more frame failed, set aside
          A2   8 frames; frame 4 flagged once, frame 6 twice (three objects to choose from)
          A12  8 frames; frame 3 excluded by Ada, frame 5 confirmed by Ada
          B1   two fields of 8 frames
          H1   8 frames; of the first three the outline is noted as gone, lost, and not a picture
          H12  8 frames of an empty well
          C3   one image that waits for CellProfiler
    ODD   left, right/1   4 frames each
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL import ImageDraw

from made_up import NOW, admission
from spheroidd.intake.naming import natural_key
from spheroidd.measure.quality import FLAGS
from spheroidd.store.alerting import Alert, Alerting
from spheroidd.store.conditions import Condition, Conditions
from spheroidd.store.database import Database, timestamp
from spheroidd.store.folder import StateFolder
from spheroidd.store.health import Health
from spheroidd.store.images import Image
from spheroidd.store.ledger import Ledger
from spheroidd.store.paths import to_stored
from spheroidd.store.results import MeasurementRecord, ObjectRecord, Results, SegmentationRecord
from spheroidd.store.reviews import Reviews, Subject
from spheroidd.store.runs import Recipe, Runs
from spheroidd.store.sights import Sights

PLATE = "20230915 - CQ22 3D"
ODD = to_stored('Plate \udce9/№2 "x" <b>&amp;</b>')
FRAMES, HOURS = 8, 2.0  # a frame every two hours
AT = NOW + 17 * 3600.0  # what the clock says: an hour after the last image
SIZE = (320, 240)
PASSWORD, TOKEN = "correct horse battery", "a-token-of-32-bytes-for-a-program"  # of the site
RECIPE = Recipe("u2netp", "8e83ca70", 0.5, "refined/1", "mask", "184d9530")
SHAPES: Mapping[str, float] = {
    "AreaShape_Solidity": 0.97, "AreaShape_Eccentricity": 0.31, "AreaShape_FormFactor": 0.88,
    "AreaShape_BoundingBoxMinimum_X": 100, "AreaShape_BoundingBoxMaximum_X": 180,
    "AreaShape_BoundingBoxMinimum_Y": 80, "AreaShape_BoundingBoxMaximum_Y": 160,
    "AreaShape_Center_X": 140.5, "AreaShape_Center_Y": 120.25,
    "Intensity_MeanIntensity_Original": 0.312,
}  # fmt: skip


def fill(root: Path) -> StateFolder:
    """Make the state folder and everything in it."""
    folder = StateFolder(root)
    folder.create()
    with Database(folder.database) as database:
        database.sql.execute("PRAGMA synchronous = OFF")  # a made-up folder may be lost
        Filler(folder, database).everything()
    return folder


class Filler:
    def __init__(self, folder: StateFolder, database: Database) -> None:
        self.folder, self.database = folder, database
        self.ledger, self.results = Ledger(database), Results(database)
        self.runs, self.reviews = Runs(database), Reviews(database)

    def everything(self) -> None:
        self.plate()
        for well in ("left", "right/1"):
            for frame in range(1, 5):
                self.measured(ODD, well, frame, areas=[900.0 + 10 * frame], pixel_size_um=None)
        self.on_their_way()
        self.run_again()
        self.settled()
        self.gone_outlines()
        self.service()
        with self.database.write() as sql:
            sql.execute("DELETE FROM unjudged")  # as the judge leaves it

    def plate(self) -> None:
        first = self.taken_in(PLATE, "A1", 1)  # an older version of the same file
        self.segmented(first)
        for frame in range(1, FRAMES + 1):
            grown = 1000.0 * 1.15**frame
            self.measured(PLATE, "A1", frame, areas=[grown], version=2 if frame == 1 else 1)
            areas, flags = [0.9 * grown], {}
            if frame == 4:
                flags = {"area_jump": (0.41, 0.25)}
            if frame == 6:
                areas = [0.9 * grown, 420.0, 130.0]
                flags = {"area_jump": (0.9, 0.25), "several_objects": (3.0, 1.0)}
            self.measured(PLATE, "A2", frame, areas=areas, flags=flags)
            self.measured(PLATE, "A12", frame, areas=[1.1 * grown])
            for field in ("1", "2"):
                self.measured(PLATE, "B1", frame, areas=[int(field) * 500.0 + grown], field=field)
            self.measured(PLATE, "H1", frame, areas=[0.5 * grown])
            self.measured(PLATE, "H12", frame, areas=[], flags={"no_spheroid": (0.0, 1.0)})

    def on_their_way(self) -> None:
        """One image at each place where one can be."""
        torn = self.taken_in(PLATE, "A1", FRAMES + 1)
        self.ledger.fail(torn, f"'{torn.path}': It is cut short.", AT - 600, permanent=True)
        self.segmented(self.taken_in(PLATE, "C3", 1))
        self.arrived("/e/unread.jpg", AT - 3)
        unreadable = self.arrived("/e/unreadable.jpg", AT - 90)
        self.ledger.fail(unreadable, "'/e/unreadable.jpg': It can't be read: denied.", AT - 60)

    def run_again(self) -> None:
        run = self.runs.again(PLATE, Recipe(**{**vars(RECIPE), "threshold": 0.4}), AT - 3000)
        self.runs.finish(run, AT - 2000)

    def settled(self) -> None:
        seen = {
            row["timepoint"]: Subject(row["image_id"], row["id"], row["object_number"], row["area"])
            for row in self.database.rows(
                "SELECT i.timepoint, m.image_id, m.id, m.object_number, m.area_px AS area"
                " FROM images i JOIN measurements m ON m.image_id = i.id AND m.current"
                " WHERE i.well = 'A12'"
            )
        }
        self.reviews.exclude([seen[3]], AT - 500, who="Ada", reason="a bubble")
        self.reviews.confirm([seen[5]], AT - 400, who="Ada")

    def gone_outlines(self) -> None:
        rows = self.database.rows(
            "SELECT m.id, m.outline_path FROM images i JOIN measurements m ON m.image_id = i.id"
            " WHERE i.well = 'H1' ORDER BY i.timepoint"
        )
        noted, lost, spoilt = (self.folder.root / row["outline_path"] for row in rows[:3])
        noted.unlink()
        lost.unlink()
        spoilt.write_text("<script>alert(1)</script>")
        with self.database.write() as sql:
            sql.execute("UPDATE measurements SET outline_path = NULL WHERE id = ?", [rows[0]["id"]])

    def service(self) -> None:
        health = Health(self.database)
        health.started(NOW, pid=4711, version="0.1.0")
        health.update(
            AT - 5, phase="running", model="u2netp", provider="CPU", pipeline="mask", trouble=""
        )
        health.folder("/e", "", "native", AT - 60, scanned=True)
        parts = ("disk", "database", "engine", "accelerator", "backup")
        Conditions(self.database).tell([Condition(name) for name in parts], NOW)
        sights = Sights(self.database.path)
        try:
            alerting = Alerting(self.database, sights)
            alerting.change([Alert("disk", True, "The disk is full", "Make room.")], [], NOW)
            alerting.change([], [(1, False)], NOW + 60)
            found = Alert(f"flags/{PLATE}/A2", False, "Two images want a look", "Of well A2.")
            alerting.change([found], [], AT - 900)
        finally:
            sights.close()

    # -- one image --------------------------------------------------------------------------

    def arrived(self, path: str, at: float = NOW) -> Image:
        self.ledger.arrive("/e", [(path, 70846, int(at * 1e9))], at)
        return next(image for image in self.ledger.waiting("/e") if image.path == path)

    def taken_in(self, plate: str, well: str, frame: int, **said: Any) -> Image:
        taken = NOW + (frame - 1) * HOURS * 3600
        field, version = said.get("field"), said.pop("version", 1)
        name = f"{well.replace('/', '_')}_{field or 0}_{frame:03d}.jpg"
        image = self.arrived(f"/e/{plate}/{well}/{name}", taken)
        facts = {
            "plate": plate, "plate_key": natural_key(plate), "timepoint": frame,
            "captured_at": timestamp(taken), "time_key": timestamp(taken), "pixel_size_um": 2.0,
            "sha256": f"{plate}/{well}/{name}/{version}", "size": 70846, "mtime_ns": 1,
            "width": SIZE[0], "height": SIZE[1],
        }  # fmt: skip
        self.ledger.admit(image.id, admission(well, name, **{**facts, **said}), taken + 5)
        [image] = self.ledger.claim("ready", taken + 5)
        return image

    def segmented(self, image: Image) -> Image:
        """With a real mask of one bit."""
        path = self.folder.image(image.plate, image.well, image.name, image.id, "mask")
        mask = Pillow.new("1", SIZE)
        ImageDraw.Draw(mask).ellipse((100, 80, 180, 160), fill=1)
        self.save(mask, path)
        record = SegmentationRecord(
            "u2netp", "8e83ca70", 0.5, "CPU", 0.97, 5027, str(path), None, 0.42, "0.1.0",
            "refined/1", {"looks": 2.0, "agreement": 0.98, "focus": 1.46},
        )  # fmt: skip
        self.results.segmented(image, record, NOW + 6)
        return image

    def measured(
        self,
        plate: str,
        well: str,
        frame: int,
        areas: list[float],
        flags: Mapping[str, tuple[float, float]] | None = None,
        **said: Any,
    ) -> None:
        """With a real outline; flags have value and limit."""
        at = NOW + (frame - 1) * HOURS * 3600 + 20
        image = self.segmented(self.taken_in(plate, well, frame, **said))
        [image] = self.ledger.claim("segmented", at)
        path = self.folder.image(plate, well, image.name, image.id, "outline")
        outline = Pillow.new("RGB", SIZE, (150 + frame, 150, 150))
        ImageDraw.Draw(outline).ellipse((100, 80, 180, 160), outline="yellow")
        self.save(outline, path)
        objects = [
            ObjectRecord("Spheroids", number, area, {"AreaShape_Area": area, **SHAPES})
            for number, area in enumerate(areas, start=1)
        ]
        batch = self.results.open_batch(
            at, plate=plate, pipeline="mask", pipeline_sha256="184d9530", cellprofiler="4.2.8.1",
            n_images=1, folder="",
        )  # fmt: skip
        size = image.pixel_size_um
        area = areas[0] if areas else 0.0
        record = MeasurementRecord(
            run_id=self.runs.live(plate, RECIPE, at),
            segmentation_id=self.results.segmentation(image.id).id, batch_id=batch, area_px=area,
            area_um2=None if size is None else area * size**2, pixel_size_um=size,
            n_objects=len(areas), flags=list(flags or {}), outline_path=str(path),
            version="0.1.0", spheroid=0 if areas else None, objects=objects,
        )  # fmt: skip
        self.results.measured(image, record, at)
        self.results.close_batch(batch, "complete", at)
        self.checked(image, flags or {})

    def checked(self, image: Image, flags: Mapping[str, tuple[float, float]]) -> None:
        """As the judge would write it."""
        checks = {flag: {"value": 0.03, "limit": 0.25, "raised": False} for flag in FLAGS}
        for flag, (value, limit) in flags.items():
            checks[flag] = {"value": value, "limit": limit, "raised": True}
        with self.database.write() as sql:
            sql.execute(
                "UPDATE measurements SET checks = ? WHERE image_id = ?",
                (json.dumps(checks), image.id),
            )

    def save(self, picture: Pillow.Image, path: Path) -> None:
        whole = self.folder.root / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        picture.save(whole)
