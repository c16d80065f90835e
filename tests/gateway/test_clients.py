"""The official clients, unmodified, against the gateway: streams, tools, pictures, schemas, cancelling, errors."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from typing import Any

import pytest
import trio

from fanout.catalog.config import GroupTable
from tests.gateway.serving import Served, asking, config_of, post, serving
from tests.gateway.upstream import Upstream, open_upstream
from tests.servers.openai import open_server

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
SCHEMA = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
WEATHER = {
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {}},
}
HELLO = [{"role": "user", "content": "Hello"}]


def sdk(name: str) -> Any:
    """The SDK. Only where everything must run is it a failure that it is not installed."""
    return import_module(name) if os.environ.get("CI") else pytest.importorskip(name)


@asynccontextmanager
async def two_lanes() -> AsyncGenerator[tuple[Served, Upstream]]:
    """A gateway before a service that speaks three wires: lanes `chat`, `claude` and `gpt`, and a race of two."""
    async with open_upstream() as upstream:
        lanes = {
            "chat": f"chat=openai/m?base_url={upstream.url}/v1&key_env=",
            "claude": f"claude=anthropic/m?base_url={upstream.url}&key_env=",
            "gpt": f"gpt=responses/m?base_url={upstream.url}/v1&key_env=",
        }
        groups = {
            "both": GroupTable("race", ["chat", "claude"]),
            "last": GroupTable("race", ["chat", "gpt"], on="finish"),
        }
        async with serving(config_of(lanes, groups)) as served:
            yield served, upstream


async def in_thread(work: Callable[[], Any]) -> Any:
    with trio.fail_after(30):
        return await trio.to_thread.run_sync(work)


def asyncio_run(work: Callable[[], Awaitable[Any]]) -> Callable[[], Any]:
    async def main() -> Any:
        return await work()

    return lambda: asyncio.run(main())


LANES = ("chat", "claude", "gpt", "both", "last", "race:gpt,chat", "fallback:claude,chat")


@pytest.mark.parametrize("lane", LANES)
async def test_openai_streams_and_answers_whole(lane: str) -> None:
    openai = sdk("openai")
    async with two_lanes() as (served, _):

        def ask() -> tuple[str, Any, str]:
            with openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
                usage = {"include_usage": True}
                stream = client.chat.completions.create(model=lane, messages=HELLO, stream=True, stream_options=usage)
                chunks = list(stream)
                text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
                whole = client.chat.completions.create(model=lane, messages=HELLO)
                return text, chunks[-1], whole.choices[0].message.content

        text, last, whole = await in_thread(ask)
        assert text == whole == "The sky is blue."
        assert last.usage.completion_tokens == 4
        assert last.model_extra["fanout"]["winner"] in ("chat", "claude", "gpt")


@pytest.mark.parametrize("lane", LANES)
async def test_openai_responses_streams_and_answers_whole(lane: str) -> None:
    openai = sdk("openai")
    async with two_lanes() as (served, _):

        async def ask() -> tuple[str, str, str]:
            async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
                text = ""
                async with client.responses.stream(model=lane, input="Hello") as stream:
                    async for event in stream:
                        text += event.delta if event.type == "response.output_text.delta" else ""
                    final = await stream.get_final_response()
                whole = await client.responses.create(model=lane, input="Hello", instructions="Be brief.")
                return text, final.output_text, whole.output_text

        assert await in_thread(asyncio_run(ask)) == ("The sky is blue.",) * 3


@pytest.mark.parametrize("lane", LANES)
async def test_anthropic_streams_under_trio_and_asyncio(lane: str) -> None:
    anthropic = sdk("anthropic")
    async with two_lanes() as (served, _):

        async def ask() -> tuple[str, str, Any]:
            async with anthropic.AsyncAnthropic(base_url=served.url, api_key="x", max_retries=0) as client:
                given: Any = {"model": lane, "max_tokens": 50, "messages": HELLO, "system": "Be brief."}
                async with client.messages.stream(**given) as stream:
                    text = "".join([piece async for piece in stream.text_stream])
                    final = await stream.get_final_message()
                return text, final.content[-1].text, final

        with trio.fail_after(30):
            text, whole, final = await ask()
        assert text == whole == "The sky is blue."
        assert final.stop_reason == "end_turn"
        assert (final.usage.input_tokens, final.usage.output_tokens) == (5, 4)
        assert (await in_thread(asyncio_run(ask)))[0] == text


async def test_openai_calls_a_tool_over_two_turns_on_the_lane_that_called_it() -> None:
    openai = sdk("openai")
    async with two_lanes() as (served, upstream):
        upstream.tool = "weather"

        def ask() -> str:
            with openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
                given: Any = {"model": "both", "tools": [{"type": "function", "function": WEATHER}]}
                first = client.chat.completions.create(messages=HELLO, **given).choices[0]
                assert first.finish_reason == "tool_calls"
                call = first.message.tool_calls[0]
                assert json.loads(call.function.arguments) == {"city": "Ulm"}
                turns = [*HELLO, first.message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
                return str(client.chat.completions.create(messages=turns, **given).choices[0].message.content)

        upstream.slow = "chat"
        assert await in_thread(ask) == "The sky is blue."
        assert [wire for wire, _ in upstream.asked[2:]] == ["messages"]  # the second turn went to no other lane


async def test_claude_gets_its_signature_back_from_a_client_that_has_no_place_for_it() -> None:
    openai = sdk("openai")
    async with two_lanes() as (served, upstream):
        upstream.tool, upstream.thinks = "weather", True

        def ask() -> None:
            with openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
                given: Any = {"model": "claude", "tools": [{"type": "function", "function": WEATHER}]}
                first = client.chat.completions.create(messages=HELLO, **given).choices[0].message
                result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "rain"}
                client.chat.completions.create(messages=[*HELLO, first, result], **given)

        await in_thread(ask)
        assert "c2lnbmF0dXJl" in json.dumps(upstream.asked[-1][1])


@pytest.mark.parametrize("restarted", [False, True], ids=["the same gateway", "a gateway that knows nothing"])
async def test_claude_gets_its_signature_back_from_its_own_client(restarted: bool) -> None:
    anthropic = sdk("anthropic")
    async with two_lanes() as (served, upstream):
        upstream.tool, upstream.thinks = "weather", True
        tool = {"name": "weather", "input_schema": WEATHER["parameters"]}

        async with anthropic.AsyncAnthropic(base_url=served.url, api_key="x", max_retries=0) as client:
            given: Any = {"model": "claude", "max_tokens": 50, "tools": [tool]}
            async with client.messages.stream(messages=HELLO, **given) as stream:
                first = await stream.get_final_message()
            assert first.stop_reason == "tool_use"
            call = next(block for block in first.content if block.type == "tool_use")
            assert call.input == {"city": "Ulm"}
            if restarted:
                served.gateway.calls.__init__()  # type: ignore[misc]  # as new
            result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]}
            turns = [*HELLO, {"role": "assistant", "content": first.content}, result]
            await client.messages.create(messages=turns, **given)
        assert "c2lnbmF0dXJl" in json.dumps(upstream.asked[-1][1])


async def test_another_lane_never_gets_a_signature() -> None:
    anthropic = sdk("anthropic")
    async with two_lanes() as (served, upstream):
        upstream.tool, upstream.thinks = "weather", True
        tool = {"name": "weather", "input_schema": WEATHER["parameters"]}
        async with anthropic.AsyncAnthropic(base_url=served.url, api_key="x", max_retries=0) as client:
            given: Any = {"max_tokens": 50, "tools": [tool]}
            first = await client.messages.create(model="claude", messages=HELLO, **given)
            call = next(block for block in first.content if block.type == "tool_use")
            result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]}
            turns = [*HELLO, {"role": "assistant", "content": first.content}, result]
            await client.messages.create(model="chat", messages=turns, **given)
        wire, body = upstream.asked[-1]
        assert wire == "chat"
        assert "c2lnbmF0dXJl" not in json.dumps(body)
        assert call.id in json.dumps(body)


@pytest.mark.parametrize("lane", ["chat", "claude", "gpt"])
async def test_pictures_and_schemas_cross_from_every_client_to_every_lane(lane: str) -> None:
    async with two_lanes() as (served, upstream):
        url = f"data:image/png;base64,{PNG}"
        chat = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
        form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
        body = {"model": lane, "messages": [{"role": "user", "content": chat}], "response_format": form}
        assert (await post(served, "/v1/chat/completions", body)).status == 200
        source = {"type": "base64", "media_type": "image/png", "data": PNG}
        blocks = [{"type": "text", "text": "What?"}, {"type": "image", "source": source}]
        form = {"format": {"type": "json_schema", "schema": SCHEMA}}
        given: Any = {"model": lane, "max_tokens": 9, "messages": [{"role": "user", "content": blocks}]}
        assert (await post(served, "/v1/messages", {**given, "output_config": form})).status == 200
        parts = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": url}]
        form = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}
        given = {"model": lane, "input": [{"role": "user", "content": parts}], "text": form}
        assert (await post(served, "/v1/responses", given)).status == 200
        assert len(upstream.asked) == 3
        for _, asked in upstream.asked:
            assert PNG in json.dumps(asked)
            assert "colour" in json.dumps(asked)


async def test_errors_are_those_that_the_clients_know() -> None:
    openai, anthropic = sdk("openai"), sdk("anthropic")
    async with open_server() as upstream:
        lanes = {
            "full": f"{upstream.lane('full', status=429, retry=7)}&retries=0",
            "bad": upstream.lane("bad", status=400),
        }
        async with serving(config_of({**lanes, "down": upstream.lane("down", status=503)})) as served:

            def ask() -> None:
                with openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
                    create = partial(client.chat.completions.create, messages=HELLO)
                    with pytest.raises(openai.RateLimitError) as limited:
                        create(model="full", stream=True)
                    assert limited.value.response.headers["retry-after"] == "7"
                    with pytest.raises(openai.BadRequestError, match="bad"):
                        create(model="bad")
                    with pytest.raises(openai.InternalServerError):
                        create(model="down")
                    with pytest.raises(openai.BadRequestError, match="no provider"):
                        create(model="nobody")
                with anthropic.Anthropic(base_url=served.url, api_key="x", max_retries=0) as other:
                    with pytest.raises(anthropic.RateLimitError):
                        other.messages.create(model="full", max_tokens=9, messages=HELLO)
                    with pytest.raises(anthropic.BadRequestError, match="no provider"):
                        other.messages.create(model="nobody", max_tokens=9, messages=HELLO)

            await in_thread(ask)


async def test_a_cut_stream_raises_in_every_client() -> None:
    openai, anthropic = sdk("openai"), sdk("anthropic")
    async with open_server() as upstream, serving(config_of({"cut": upstream.lane("cut", n=9, cut=4)})) as served:

        def ask() -> None:
            with openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
                stream = client.chat.completions.create(model="cut", messages=HELLO, stream=True)
                with pytest.raises(openai.APIError, match="before the answer"):
                    list(stream)
                kinds = [event.type for event in client.responses.create(model="cut", input="Hello", stream=True)]
                assert kinds[-1] == "response.failed"
            with (
                anthropic.Anthropic(base_url=served.url, api_key="x", max_retries=0) as other,
                pytest.raises(anthropic.APIError, match="before the answer"),
                other.messages.stream(model="cut", max_tokens=9, messages=HELLO) as stream,
            ):
                stream.get_final_message()

        await in_thread(ask)


async def test_a_client_that_cancels_leaves_nothing_upstream() -> None:
    openai = sdk("openai")
    async with open_server() as upstream:
        lanes = {"a": upstream.lane("a", n=1000, gap=0.01), "b": upstream.lane("b", ttft=30)}
        async with serving(config_of(lanes)) as served:

            async def ask() -> None:
                async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
                    stream = await client.chat.completions.create(model="a", messages=HELLO, stream=True)
                    async for _ in stream:
                        break
                    await stream.close()
                    create = client.chat.completions.create(model="race:b,b", messages=HELLO, stream=True)
                    with pytest.raises(asyncio.TimeoutError):
                        await asyncio.wait_for(create, 0.2)

            await in_thread(asyncio_run(ask))
            with trio.fail_after(2):
                await upstream.all_closed()


def valid(events: list[Any], kind: Any) -> None:
    pydantic = sdk("pydantic")
    adapter = pydantic.TypeAdapter(kind)
    for event in events:
        adapter.validate_python(event)


@pytest.mark.parametrize("thinks", [False, True])
@pytest.mark.parametrize("tool", [None, "weather"])
@pytest.mark.parametrize("lane", ["chat", "claude", "gpt"])
async def test_every_event_is_of_the_clients_own_types(lane: str, tool: str | None, thinks: bool) -> None:
    chat, response = sdk("openai.types.chat"), sdk("openai.types.responses")
    anthropic = sdk("anthropic.types")
    async with two_lanes() as (served, upstream):
        upstream.tool, upstream.thinks = tool, thinks
        body = asking(lane, stream=True, stream_options={"include_usage": True})
        events = (await post(served, "/v1/chat/completions", body)).events
        assert events.pop() == "[DONE]"
        valid(events, chat.ChatCompletionChunk)
        valid([(await post(served, "/v1/chat/completions", asking(lane))).json], chat.ChatCompletion)
        said: Any = {"model": lane, "max_tokens": 9, "messages": HELLO}
        valid((await post(served, "/v1/messages", {**said, "stream": True})).events, anthropic.RawMessageStreamEvent)
        valid([(await post(served, "/v1/messages", said)).json], anthropic.Message)
        said = {"model": lane, "input": "Hello"}
        events = (await post(served, "/v1/responses", {**said, "stream": True})).events
        valid(events, response.ResponseStreamEvent)
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        valid([(await post(served, "/v1/responses", said)).json], response.Response)


RESOURCE = """
    id object created_at completed_at status incomplete_details model previous_response_id instructions output
    error tools tool_choice truncation parallel_tool_calls text top_p presence_penalty frequency_penalty
    top_logprobs temperature reasoning usage max_output_tokens max_tool_calls store background service_tier
    metadata safety_identifier prompt_cache_key
""".split()  # noqa: SIM905  # one a line would be a page


@pytest.mark.parametrize("lane", ["chat", "claude", "gpt"])
async def test_open_responses_finds_every_field_and_its_cases_are_served(lane: str) -> None:
    async with two_lanes() as (served, upstream):
        tool = {"type": "function", "name": "weather"}
        turns = [
            {"type": "message", "role": "user", "content": "My name is Ann."},
            {"type": "message", "role": "assistant", "content": "Hello Ann."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "My name?"}]},
        ]
        for stream in (False, True):
            for body in ({"input": "Hi"}, {"input": "Hi", "instructions": "Be brief."}, {"input": turns}):
                answered = await post(served, "/v1/responses", {"model": lane, "stream": stream, **body})
                response = answered.events[-1]["response"] if stream else answered.json
                assert [name for name in RESOURCE if name not in response] == []
                assert response["status"] == "completed"
                assert response["output"][0]["content"][0]["text"] == "The sky is blue."
                for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs"):
                    assert isinstance(response[name], int | float)
            upstream.tool = "weather"
            answered = await post(
                served, "/v1/responses", {"model": lane, "stream": stream, "input": "Hi", "tools": [tool]}
            )
            response = answered.events[-1]["response"] if stream else answered.json
            assert response["output"][-1]["name"] == "weather"
            assert response["tools"] == [{**tool, "description": None, "parameters": None, "strict": None}]
            upstream.tool = None
        refused = await post(served, "/v1/responses", {"model": lane, "input": "Hi", "previous_response_id": "resp_1"})
        assert refused.status == 400


async def test_litellm_streams_and_answers_whole() -> None:
    pytest.importorskip("litellm")  # heavy: where the benchmarks run
    async with two_lanes() as (served, _):
        script = """
import litellm, sys
given = {"api_key": "x", "messages": [{"role": "user", "content": "Hi"}]}
chat = {"model": "openai/both", "api_base": sys.argv[1] + "/v1", **given}
print("".join(c.choices[0].delta.content or "" for c in litellm.completion(stream=True, **chat) if c.choices))
for model in (chat, {"model": "anthropic/both", "api_base": sys.argv[1], **given}):
    print(litellm.completion(**model).choices[0].message.content)
"""
        words = [sys.executable, "-c", script, served.url]
        environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        done = await trio.run_process(words, capture_stdout=True, env=environment)
        assert done.stdout.decode().splitlines() == ["The sky is blue."] * 3
