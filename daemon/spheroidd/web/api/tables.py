"""A plate's growth table as a file.

It is written well by well to a file of its own, which lies in memory while it is small: neither
a plate of a hundred thousand images nor a client that reads slowly takes memory, or holds a
connection to the database.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from typing import IO
from urllib.parse import quote

from starlette.responses import StreamingResponse

from spheroidd.report.export import write_csv
from spheroidd.store.paths import printable
from spheroidd.store.reader import Row

CSV, PARQUET = "text/csv; charset=utf-8", "application/vnd.apache.parquet"
_IN_MEMORY = 4 * 2**20
_CHUNK = 2**18
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


class FileResponse(StreamingResponse):
    """A file that goes away once it was sent, or could not be."""

    def __init__(self, file: IO[bytes], media_type: str, headers: dict[str, str]) -> None:
        size = file.seek(0, 2)
        file.seek(0)
        super().__init__(_chunks(file), 200, {**headers, "Content-Length": str(size)}, media_type)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


def csv_file(rows: Iterable[Row]) -> IO[bytes]:
    """The very bytes that `spheroidd export` writes.

    Args:
        rows: of the view `growth`, in its order.
    """
    file = new_file()
    text = TextIOWrapper(file, "utf-8", newline="")
    write_csv(rows, text)
    text.detach()  # which leaves the file open
    return file


def new_file() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(_IN_MEMORY)


def disposition(plate: str, well: str | None, ending: str) -> str:
    """A `Content-Disposition` (RFC 6266): a name in ASCII, and the real one for who knows it."""
    stem = f"growth {printable(plate)}" + (f" {printable(well)}" if well else "")
    plain = _NOT_PLAIN.sub("_", stem).strip("._-")[:100]
    real = quote(stem.replace("/", "_").replace("\\", "_")[:100], safe="")
    return f"attachment; filename=\"{plain}.{ending}\"; filename*=UTF-8''{real}.{ending}"
