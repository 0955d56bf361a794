"""The OpenAPI document tells the truth: asked by schemathesis, with what the document allows and what it does not."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import checks

from tests.daemon import SCALE
from tests.web.site import Site

BUDGET = max(3, round(6 * SCALE))
"""Requests of each kind for each operation."""
LASTING = {"events", "stream_job", "wait_for_job", "logout", "method_wait"}
"""Operations whose answers last, and the one that ends the session; they have tests of their own."""
COMMANDS = {"call_story.echo", "call_story.double"}


def test_the_document_is_made_of_what_there_is(site: Site) -> None:
    found = site.client().get("/openapi.json").json()
    paths = found["paths"]
    assert {"/jobs", "/jobs/{id}", "/events", "/poll", "/methods/ping", "/call/story.double"} <= set(paths)
    assert "/call/story.for_scripts" not in paths
    assert "/methods/stop" not in paths
    assert {"/methods/stop", "/methods/audit"} <= set(site.client(level="admin").get("/openapi.json").json()["paths"])
    assert "/call/story.double" not in site.client(level="viewer").get("/openapi.json").json()["paths"]
    body = paths["/call/story.double"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    name = body["$ref"].rpartition("/")[2]
    assert found["components"]["schemas"][name]["properties"]["number"]["type"] == "integer"
    assert found["openapi"].startswith("3.1")


def test_every_operation_answers_as_the_document_says(site: Site) -> None:
    headers = {"Authorization": f"Bearer {site.token('fuzzer')}"}
    schema = schemathesis.openapi.from_url(f"{site.base}/openapi.json", headers=headers)
    asked = []
    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]
        id = operation.definition.raw["operationId"]
        if id in LASTING or (id.startswith("call_") and id not in COMMANDS):
            continue
        asked.append(id)
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            _ask(operation, mode, headers)
    assert len(asked) > 20
    assert site.client().get("/jobs").status_code == 200


def _ask(operation: Any, mode: schemathesis.GenerationMode, headers: dict[str, str]) -> None:
    @hypothesis_settings(
        max_examples=BUDGET, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        if operation.path == "/poll":
            case.query["wait"] = 0
        answer = case.call(headers=headers)
        case.validate_response(
            answer,
            checks=[checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance],
        )

    try:
        check()
    except Exception as error:
        if "Unsatisfiable" not in type(error).__name__:  # nothing can be wrong about a request without parameters
            raise
