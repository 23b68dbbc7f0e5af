"""What a mask was made with, as it is written beside it."""

import re

import pytest

from spheroidd.segment.finding import Finder
from spheroidd.segment.recipe import Recipe
from spheroidd.segment.session import RembgSession


def test_a_threshold_alone_is_no_refinement(session: RembgSession) -> None:
    assert Recipe(None, "0").refinement is None
    assert Recipe(Finder(session, None, 0.5, refine=False), "0").refinement is None


@pytest.mark.parametrize(("refine", "dense"), [(True, False), (False, True), (True, True)])
def test_all_that_decides_a_mask_is_named(session: RembgSession, refine: bool, dense: bool) -> None:
    named = Recipe(Finder(session, session, 0.5, refine=refine, dense=dense), "0").refinement
    assert named is not None
    assert bool(re.search(r"\brefined/\d+ with u2netp [0-9a-f]{8}\b", named)) == refine
    assert bool(re.search(r"\bdense/\d+", named)) == dense


def test_a_look_by_the_same_model_names_no_second(session: RembgSession) -> None:
    named = Recipe(Finder(session, None, 0.5), "0").refinement
    assert named is not None
    assert re.fullmatch(r"refined/\d+", named)
