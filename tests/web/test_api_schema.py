"""The OpenAPI document, and whether the API does what it says there, asked by schemathesis."""

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from filled import AT, ODD, PLATE, TOKEN
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.openapi import from_asgi
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from spheroidd.store.folder import StateFolder
from spheroidd.web.app import Settings, create_app
from spheroidd.web.passwords import hash_token

HEADERS = {"Authorization": f"Bearer {TOKEN}", "Host": "127.0.0.1:8765"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = settings(
    max_examples=12, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    verbosity=Verbosity.quiet, suppress_health_check=list(HealthCheck),
)  # fmt: skip
# What is there, so that not all that is asked ends with 404.
PLACES = [(PLATE, "A1"), (PLATE, "A2"), (PLATE, "B1"), (PLATE, "H12"), (PLATE, "C3"),
          (ODD, "right/1")]  # fmt: skip
KNOWN = st.none() | st.builds(
    lambda place, number: {"plate": place[0], "well": place[1], "image_id": number},
    st.sampled_from(PLACES),
    st.integers(1, 72),
)


@pytest.fixture(scope="module")
def site_with_token(filled_once: StateFolder, tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """Over a folder of its own, for nonsense may be settled there."""
    copied = shutil.copytree(filled_once.root, tmp_path_factory.mktemp("asked") / "state")
    site = Settings(StateFolder(copied), tokens={"robot": hash_token(TOKEN)})
    return create_app(site, structlog.get_logger(), lambda: AT)


@pytest.fixture(scope="module")
def schema(site_with_token: FastAPI) -> Iterator[Any]:
    """Without the tokens: they come with all that is sent."""
    loaded = from_asgi("/api/v1/openapi.json", site_with_token, headers=HEADERS)
    del loaded.raw_schema["components"]["securitySchemes"]
    for methods in loaded.raw_schema["paths"].values():
        for said in methods.values():
            said.pop("security", None)
    yield loaded
    shutdown_lifespans()


def operations(schema: Any) -> dict[str, Any]:
    """All but the one that never ends."""
    found = (result.ok() for result in schema.get_all_operations())
    return {one.label: one for one in found if not one.path.endswith("/live")}


def try_all(
    schema: Any, subtests: pytest.Subtests, mode: GenerationMode, call: Callable[..., None]
) -> None:
    for label, operation in operations(schema).items():
        check = EXAMPLES(given(operation.as_strategy(generation_mode=mode), KNOWN)(call))
        with subtests.test(label):
            try:
                check()
            except Unsatisfiable:
                assert not list(operation.iter_parameters()), "nothing that could be wrong"


def test_what_is_asked_as_documented_is_answered_as_documented(
    schema: Any, subtests: pytest.Subtests
) -> None:
    answered: dict[str, set[int]] = {}

    def call(case: Case, known: dict[str, Any] | None) -> None:
        for name, value in (known or {}).items():
            for place in (case.query, case.path_parameters, case.body):
                if isinstance(place, dict) and name in place:
                    place[name] = value
        response = case.call(headers=HEADERS)
        answered.setdefault(case.operation.label, set()).add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    try_all(schema, subtests, GenerationMode.POSITIVE, call)
    some = {label for label, statuses in answered.items() if 200 in statuses}
    reading = {label for label in answered if label.startswith("GET")}
    assert len(reading) >= 13
    assert some >= reading, "or the shape of what is told was never looked at"


def test_nonsense_is_refused_as_documented(schema: Any, subtests: pytest.Subtests) -> None:
    def call(case: Case, _: object) -> None:
        response = case.call(headers=HEADERS)
        # It counts 414 as an acceptance.
        rejected = [] if response.status_code == 414 else [negative_data_rejection]
        case.validate_response(response, checks=CHECKS + rejected)

    try_all(schema, subtests, GenerationMode.NEGATIVE, call)


def test_the_document_is_fit_for_people_and_generators(site_with_token: FastAPI) -> None:
    document = site_with_token.openapi()
    names = []
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            names.append(said["operationId"])
            assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", said["operationId"]) or "/live" in path
            assert said["tags"], path
            assert said["summary"], path
            if "/live" not in path:
                assert said["security"] == [{"token": []}], path
                assert said["description"], path
                problems = {code for code in said["responses"] if code >= "400"}
                assert {"401", "404", "422", "503"} <= problems, (path, method)
                for code in problems:
                    content = said["responses"][code]["content"]["application/json"]
                    assert content["schema"]["$ref"].endswith("/Problem"), (path, code)
            for parameter in said.get("parameters", []):
                assert parameter["description"], (path, parameter["name"])
    assert len(set(names)) == len(names)
    for name, shape in document["components"]["schemas"].items():
        for field, said in shape.get("properties", {}).items():
            if re.search(r"area|hours|_um|pixel_size", field) and "$ref" not in said:
                assert said.get("description"), f"{name}.{field} has no unit"
