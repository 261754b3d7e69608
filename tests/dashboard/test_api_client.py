"""What goes wrong between the dashboard and the API becomes one sentence of the right kind."""

import json
from collections.abc import Callable

import httpx
import pytest

from core.errors import (
    AppError,
    Conflict,
    Forbidden,
    NotFound,
    RuleViolation,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from dashboard.api_client import ApiClient, open_http

Answer = Callable[[httpx.Request], httpx.Response]


def client(answer: Answer, token: str | None = "secret-token") -> ApiClient:
    return ApiClient(open_http("http://api.test", transport=httpx.MockTransport(answer)), token)


def problem(status: int, **members: object) -> Answer:
    headers = {"content-type": "application/problem+json"}
    return lambda _: httpx.Response(status, json=members, headers=headers)


@pytest.mark.parametrize(
    ("status", "members", "kind", "sentence"),
    [
        (
            400,
            {"detail": "name: too long", "errors": [{"field": "name", "message": "too long"}]},
            RuleViolation,
            "Name: too long.",
        ),
        (401, {"detail": "the session has ended"}, Unauthorized, "The session has ended."),
        (403, {"detail": "your role (analyst) may not do this"}, Forbidden, "Your role (analyst) may not do this."),
        (404, {"detail": "no such campaign"}, NotFound, "No such campaign."),
        (409, {"title": "Conflict"}, Conflict, "Conflict."),
        (
            422,
            {"detail": "bad rule", "errors": [{"field": "a", "message": "is unknown"}]},
            RuleViolation,
            "Bad rule; a: is unknown.",
        ),
        (429, {"detail": "too many tries", "retry_after_s": 30}, TooManyRequests, "Too many tries."),
        (500, {"detail": "it is logged"}, Unavailable, "It is logged."),
        (503, {}, Unavailable, "The API could not answer (error 503). Try again in a moment."),
    ],
)
def test_a_problem_document_becomes_a_sentence(
    status: int, members: dict[str, object], kind: type[AppError], sentence: str
) -> None:
    with pytest.raises(AppError) as refused:
        client(problem(status, **members)).ledger()

    assert type(refused.value) is kind
    assert refused.value.message == sentence


def test_an_error_page_of_a_proxy_is_not_shown_as_it_is() -> None:
    with pytest.raises(Unavailable, match="error 502"):
        client(lambda _: httpx.Response(502, text="<html>nginx</html>")).ledger()


def test_an_answer_of_another_shape_is_said_to_be_unknown() -> None:
    with pytest.raises(Unavailable, match="a shape this dashboard does not know"):
        client(lambda _: httpx.Response(200, json={"size": "many"})).ledger()


def test_no_answer_in_time_does_not_promise_that_nothing_happened() -> None:
    def late(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("late", request=request)

    with pytest.raises(Unavailable, match="may still be under way"):
        client(late).launch("1", "fingerprint", "key")


def test_the_token_and_the_idempotency_key_travel_as_headers() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    client(answer).launch("c1", "print", "key-1")

    assert seen[0].headers["authorization"] == "Bearer secret-token"
    assert seen[0].headers["idempotency-key"] == "key-1"
    assert json.loads(seen[0].content) == {"fingerprint": "print"}


def test_an_upload_sends_the_file_and_its_options() -> None:
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.read())
        facts = {"id": "1", "filename": "a.csv", "bytes": 5, "status": "waiting", "created_at": "2026-11-22T10:00:00Z"}
        return httpx.Response(201, json=facts)

    started = client(answer).start_import("a.csv", b"phone", {"region": "DE"}, "key")

    assert started.status == "waiting"
    assert b'filename="a.csv"' in seen[0] and b'{"region": "DE"}' in seen[0]
