"""The served OpenAPI document is compatible with Prefect 2.20's REST API, and the comparison notices what is not."""

from __future__ import annotations

import copy
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from flowyard.server.app import create_app
from flowyard.settings import Settings

COMPARE = runpy.run_path(str(Path(__file__).parent / "contract" / "compare.py"))
CONTRACT: dict[str, Any] = json.loads(COMPARE["CONTRACT"].read_text())


@pytest.fixture(scope="module")
def served() -> dict[str, Any]:
    return create_app(Settings.from_env({})).openapi()


def test_what_is_served_is_compatible_with_the_contract(served: dict[str, Any]) -> None:
    report = COMPARE["compare"](served, CONTRACT, is_partial=True)
    assert report.problems == []
    assert report.checked["fields"] > 20


def test_a_missing_operation_is_noticed(served: dict[str, Any]) -> None:
    without = copy.deepcopy(served)
    del without["paths"]["/api/flows/{id}"]["patch"]
    assert "PATCH /api/flows/{id}: is missing" in COMPARE["compare"](without, CONTRACT).problems


def test_a_missing_field_is_noticed(served: dict[str, Any]) -> None:
    without = copy.deepcopy(served)
    del without["components"]["schemas"]["FlowFilter"]["properties"]["tags"]
    problems = COMPARE["compare"](without, CONTRACT, is_partial=True).problems
    assert "POST /api/flows/filter body.flows.tags: is missing" in problems


def test_a_field_of_another_kind_is_noticed(served: dict[str, Any]) -> None:
    changed = copy.deepcopy(served)
    changed["components"]["schemas"]["Flow"]["properties"]["name"] = {"type": "integer"}
    problems = COMPARE["compare"](changed, CONTRACT, is_partial=True).problems
    assert "GET /api/flows/{id} answer.name: is ['integer'], not ['string']" in problems
