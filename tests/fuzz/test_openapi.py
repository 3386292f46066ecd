"""Every operation of the OpenAPI document, called with what its schemas allow and with what they do not."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.cli.conftest import Serving

pytestmark = pytest.mark.server

EXAMPLES = 4
ANSWER_S_MAX = 30
FORESEEN = {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.NOT_IMPLEMENTED}
OUR_BUG = "The server failed on this request"
"""How an error that nobody foresaw is worded; upstream's own answers with 500 say what was wrong."""


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_is_a_failure_of_ours(server: Serving, mode: GenerationMode) -> None:
    """Whatever the parameters and bodies are, the answer is the operation's own, within its time."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    failures: dict[str, str] = {}
    called = 0
    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # an error in the document raises, as it should
        if operation.method.upper() not in {"GET", "POST", "PUT", "DELETE", "PATCH"}:
            continue
        called += 1
        problem = _first_failure(operation, mode)
        if problem is not None:
            failures[f"{operation.method.upper()} {operation.path}"] = problem

    assert called > 100
    assert failures == {}


def _first_failure(operation: Any, mode: GenerationMode) -> str | None:
    failures: list[str] = []

    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def call(case: Any) -> None:
        if not failures and (problem := _problem(case)) is not None:
            failures.append(f"{problem}\n{case.as_curl_command()}")

    try:
        call()
    except Unsatisfiable:
        return None  # there is nothing in this operation that could be wrong
    return failures[0] if failures else None


def _problem(case: Any) -> str | None:
    answer = case.call(timeout=ANSWER_S_MAX)
    status, text = answer.status_code, answer.text
    foreseen = (
        status in {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.NOT_IMPLEMENTED} and OUR_BUG not in text
    )
    # No worker serves these tests, and a plan needs one.
    foreseen = foreseen or (status == HTTPStatus.SERVICE_UNAVAILABLE and '"plan_not_made"' in text)
    return None if foreseen or status < HTTPStatus.INTERNAL_SERVER_ERROR else f"{status} {text}"
