"""Settings that keep the service well for weeks: disk, backups, what is kept, alerts, monitor."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_serializer

from spheroidd.config_types import FilePath, Positive, Section

_SCHEME = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*)://")  # the only part of an address to show

Days = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Disk(Section):
    """When the disk that holds `state_dir` is too full to go on."""

    # Below this much free space segmenting and measuring pause; images go on being entered.
    reserve_gb: float = Field(default=2.0, ge=0, allow_inf_nan=False)


class Backup(Section):
    """Copies of the database, made while the service runs; the oldest go first."""

    every_hours: Positive | None = 24.0
    copies: int = Field(default=7, ge=1, le=1000)
    folder: FilePath | None = None  # None: `backups` in state_dir; another disk is better


class Keep(Section):
    """For how many days after its measurement each kind of file stays; None: for ever.

    Areas, objects and reviews stay for ever in any case.
    """

    masks_days: Days | None = None
    outlines_days: Days | None = None
    white_days: Days | None = 0.0
    spreadsheets_days: Days | None = None
    # All these together; beyond it the oldest go, white images first and masks last.
    budget_gb: Positive | None = None


def _two_times(value: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError("give two times of day, such as 22:00-07:00")
    return value


class Alerts(Section):
    """Whom to tell, and of what; `spheroidd alerts test` sends one to try."""

    # apprise URLs (mail, Slack, Teams, webhooks…); they hold secrets, so better in the file.
    targets: tuple[str, ...] = Field(default=(), repr=False)
    targets_file: FilePath | None = None  # one URL a line; so is the variable SPHEROIDD_ALERTS
    no_image_minutes: Positive | None = None  # None: three of the plate's own intervals
    failures_per_hour: int = Field(default=10, ge=1)
    flagged_in_a_row: int = Field(default=3, ge=2)
    remind_hours: Positive | None = 24.0  # None: told once, and when it is over
    # Only what can't wait (disk, engine, accelerator) is told then, local time; the rest after it.
    quiet_hours: Annotated[str, AfterValidator(_two_times)] | None = None

    @field_serializer("targets")
    def _without_secrets(self, targets: tuple[str, ...]) -> list[str]:
        found = [_SCHEME.match(target) for target in targets]
        return [f"{scheme.group(1)}://…" if scheme else "…" for scheme in found]


class Monitor(Section):
    """/healthz and /metrics (Prometheus) for machines that watch this one; off without a port."""

    # Loopback only: there is no password.
    host: Literal["127.0.0.1", "::1", "localhost"] = "127.0.0.1"
    port: int | None = Field(default=None, ge=1, le=65535)


class Worker(Section):
    """When CellProfiler's worker is replaced by a fresh one, between two batches."""

    max_memory_gb: Positive = 4.0
    max_images: int = Field(default=5000, ge=1)
    max_hours: Positive = 24.0
