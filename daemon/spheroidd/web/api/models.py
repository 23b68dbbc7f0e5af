"""What the answers hold; this is where the OpenAPI document's words and units come from."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

AreaPx = Annotated[float | None, Field(description="Area in pixels.")]
AreaUm2 = Annotated[
    float | None, Field(description="Area in µm²; null where the size of a pixel is not known.")
]
At = Annotated[str | None, Field(description="UTC, ISO 8601.")]
Hours = Annotated[
    float | None, Field(description="Hours since the plate's first image, as in `/growth`.")
]
State = Literal["waiting", "ready", "segmented", "measured", "failed"]
StateOrOld = Literal["waiting", "ready", "segmented", "measured", "failed", "superseded"]
Flags = Annotated[
    list[str], Field(description="What a person should know of it: see docs/flags.md.")
]
Decision = Annotated[
    Literal["confirmed", "chosen"] | None, Field(description="What a person settled.")
]
Next = Annotated[
    str | None, Field(description="Give it as `after` for the next page; null: this is the last.")
]


class Problem(BaseModel):
    """What went wrong, in words for people."""

    error: str = Field(description="What happened.")
    hint: str = Field(description="What to do next; may be empty.")


class Check(BaseModel):
    """The number behind a flag."""

    value: float | None
    limit: float | None
    raised: bool = Field(description="Whether `value` is beyond `limit`, so that the flag is set.")


class Object(BaseModel):
    """One object that CellProfiler found; all in pixels of the image."""

    number: int = Field(description="CellProfiler's number; what `choose` takes.")
    is_spheroid: bool
    area_px: AreaPx
    x: float | None = Field(description="Centre, from the left, in pixels.")
    y: float | None = Field(description="Centre, from the top, in pixels.")
    box: list[float] | None = Field(description="Left, top, right, bottom, in pixels.")


# -- the service ----------------------------------------------------------------------------


class Counts(BaseModel):
    """How far images have come."""

    seen: int
    waiting: int = Field(description="Seen, and not segmented yet.")
    segmented: int = Field(description="Segmented, measured ones too.")
    measured: int
    failed: int
    to_review: int = Field(description="Flagged, and nobody has settled them yet.")
    excluded: int


class Plate(Counts):
    """One plate, and how far it is."""

    plate: str | None = Field(description="Its name; null: images that were not taken in yet.")
    wells: int
    first_at: At
    last_at: At
    running: bool = Field(description="Whether images still come at its pace.")
    next_due_at: At
    last_seen_at: At = None
    interval_seconds: float | None = Field(None, description="Between two rounds of images.")


class Alert(BaseModel):
    """Something that people were to be told."""

    id: int
    key: str = Field(description="What it is about; stays the same.")
    urgent: bool
    title: str
    body: str
    raised_at: str
    told_at: At
    ended_at: At
    error: str | None = Field(description="Why nobody could be told.")


class Latency(BaseModel):
    """From being seen to being measured, of the newest images."""

    images: int
    median_seconds: float | None
    p95_seconds: float | None


class Trouble(BaseModel):
    """Something that is wrong now."""

    what: str
    words: str
    since: str
    next_step: str
    urgent: bool = Field(description="Nothing is measured meanwhile.")


class Disk(BaseModel):
    """The disk that the state folder lies on."""

    free_bytes: int
    total_bytes: int


class Status(BaseModel):
    """The whole service at a glance; what `spheroidd status --json` says, and more."""

    level: Literal["ok", "warning", "wrong"]
    headline: str = Field(description="The sentence that `spheroidd status` begins with.")
    sentence: str = Field(description="How the plates are, in one plain sentence.")
    now: float = Field(description="The server's clock, in seconds since 1970-01-01 UTC.")
    daemon: dict[str, Any] = Field(
        description="`running`, `phase`, `version`, `model`, `provider`, `heartbeat_at`…"
    )
    conditions: list[dict[str, Any]] = Field(description="The service, part by part.")
    troubles: list[Trouble]
    folders: list[dict[str, Any]] = Field(description="The watched folders, and how they are.")
    plates: list[Plate]
    totals: Counts
    failures: list[dict[str, Any]] = Field(description="The newest failed images, and why.")
    failure_groups: list[dict[str, Any]] = Field(description="Failed images by reason.")
    gone: int = Field(description="Images that were gone before they could be read.")
    alerts: list[Alert] = Field(description="Those that are open.")
    alerts_open: int
    last_image_at: At
    latency: Latency
    disk: Disk | None


class Run(BaseModel):
    """One way of measuring a plate: as images arrive (`live`), or `again`."""

    id: int
    plate: str
    kind: Literal["live", "again"]
    model: str
    model_md5: str | None
    threshold: float | None
    refinement: str | None
    pipeline: str
    pipeline_sha256: str
    started_at: str
    finished_at: At
    images: int = Field(description="How many of the plate's measured images it has.")
    total: int = Field(description="How many measured images the plate has.")
    failures: int
    shown: int = Field(description="How many images `/growth` shows from it.")
    chosen: bool = Field(description="Whether it is the run that the plate shows.")


class EventImage(BaseModel):
    """One image that an event concerned."""

    image_id: int
    plate: str
    well: str
    hours: Hours
    timepoint: int | None
    measurement_id: int
    object_number: int | None = Field(description="The spheroid, as it was settled.")


class Event(BaseModel):
    """What somebody settled; never changed, undone by a later event."""

    id: int
    at: str
    who: str
    action: Literal["confirm", "exclude", "restore", "choose"]
    reason: str
    n_images: int
    images: list[EventImage] = Field(description="The first twenty of them.")


class Events(BaseModel):
    """One page of events, the newest first."""

    rows: list[Event]
    next: Next
