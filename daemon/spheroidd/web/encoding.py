"""JSON as it is sent."""

import json
from typing import Any


def encoded(content: Any) -> bytes:
    """Without spaces, and in ASCII, as `status --json` writes names."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
