"""A client's schema at the gateway: the first answer that fits wins, where there are several lanes."""

import json
from typing import Any

import pytest

from tests.gateway.serving import config_of, post, serving
from tests.servers.openai import open_server

SCHEMA = {"type": "object", "properties": {"sky": {"type": "string"}}, "required": ["sky"]}


def asked(model: str, schema: Any, **more: Any) -> dict[str, Any]:
    """The body of a request for an answer of this form."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return {"model": model, "messages": [{"role": "user", "content": "?"}], "response_format": form, **more}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


async def test_an_answer_that_does_not_fit_loses_to_a_slower_one_that_does() -> None:
    async with open_server() as upstream:
        lanes = {
            "prose": upstream.lane("prose", say="Sure."),
            "data": upstream.lane("data", say='{"sky":"blue"}', ttft=0.1),
        }
        async with serving(config_of(lanes)) as served:
            for name in ("race:prose,data", "fallback:prose,data"):
                answer = await post(served, "/v1/chat/completions", asked(name, SCHEMA))
                assert answer.status == 200
                assert json.loads(answer.json["choices"][0]["message"]["content"]) == {"sky": "blue"}
                assert answer.headers["x-fanout-winner"] == "data"


async def test_where_no_answer_fits_the_client_is_told_what_is_wrong() -> None:
    async with open_server() as upstream:
        lanes = {name: upstream.lane(name, say='{"sea":"green"}') for name in "ab"}
        async with serving(config_of(lanes)) as served:
            answer = await post(served, "/v1/chat/completions", asked("race:a,b", SCHEMA))
            assert answer.status == 502
            assert "sky" in answer.json["error"]["message"]


async def test_the_answer_of_a_single_lane_goes_to_the_client_as_it_is() -> None:
    async with open_server() as upstream, serving(config_of({"one": upstream.lane("one", say="Blue.")})) as served:
        answer = await post(served, "/v1/chat/completions", asked("one", SCHEMA))
        assert answer.status == 200
        assert answer.json["choices"][0]["message"]["content"] == "Blue."


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (nested(40), "32 levels"),
        ({"type": "object", "properties": {f"p{n}": {} for n in range(600)}}, "500 properties"),
        ({"type": "string", "description": "x" * 70_000}, "64 KB"),
    ],
)
@pytest.mark.parametrize("name", ["one", "race:one,two"])
async def test_a_schema_beyond_the_caps_is_refused_and_nobody_is_asked(name: str, schema: Any, says: str) -> None:
    async with open_server() as upstream:
        lanes = {lane: upstream.lane(lane, say="{}") for lane in ("one", "two")}
        async with serving(config_of(lanes)) as served:
            answer = await post(served, "/v1/chat/completions", asked(name, schema))
            assert answer.status == 400
            assert says in answer.json["error"]["message"]
            assert not upstream.served
