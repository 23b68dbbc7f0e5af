"""The static table of models against the installed rembg."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rembg.sessions import sessions

from spheroidd.segment.catalogue import CATALOGUE, DEFAULT

# Each with its reason in the catalogue's own description.
LEFT_OUT = {"sam", "u2net_cloth_seg", "birefnet-general-fp16"}
ON_RELEASE_PAGE = [entry for entry in CATALOGUE.values() if entry.release_file]


def test_every_usable_rembg_model_is_in_the_catalogue() -> None:
    usable = {
        name
        for name, kind in sessions.items()
        if kind.is_local() and not kind.requires_credentials() and not kind.has_usage_cost()
        if not name.endswith("_custom") and name not in LEFT_OUT
    }
    assert {entry.name for entry in ON_RELEASE_PAGE} == usable
    assert set(sessions) >= LEFT_OUT  # or the reasons for leaving them out are stale
    assert DEFAULT in CATALOGUE


@pytest.mark.parametrize("entry", ON_RELEASE_PAGE, ids=lambda entry: entry.name)
def test_checksum_and_file_are_rembgs_own(entry) -> None:
    source = inspect.getsource(sessions[entry.name].download_models)
    assert re.findall(r"(?:md5|sha256):[0-9a-f]{32,}", source) == [entry.checksum]
    assert re.findall(r"download/v0\.0\.0/([^\"]+)", source) == [entry.release_file]


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.name)
def test_a_twin_prepares_images_the_same_way(entry) -> None:
    def preparation(name: str) -> list[str]:
        source = " ".join(inspect.getsource(sessions[name].predict).split())
        return re.findall(r"self\.normalize\((.+?\) ?,? ?)\),", source)

    def numbers(name: str) -> list[str]:
        return re.findall(r"[\d.]+", preparation(name)[0])

    same = {
        name
        for name in ("dis_custom", "u2net_custom")
        if numbers(name) == numbers(entry.session)
        and not hasattr(sessions[entry.session], "sigmoid")
    }
    if entry.name == "bria-rmbg":  # 1024 pixels a side with ImageNet's mean: neither family
        assert entry.twin == ""
    assert same == ({entry.twin} if entry.twin else set())


def test_rembg_squashes_logits_where_the_session_thinks_so() -> None:
    """The session looks for a `sigmoid` method; rembg must use it in exactly those classes."""
    for entry in CATALOGUE.values():
        kind = sessions[entry.session]
        assert hasattr(kind, "sigmoid") == ("self.sigmoid(" in inspect.getsource(kind.predict))


def test_listing_imports_neither_rembg_nor_onnxruntime(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from spheroidd.segment import models, session;"
        "models.list_models(Path(sys.argv[1]));"
        "assert not {'rembg', 'onnxruntime', 'pooch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
