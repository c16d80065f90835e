"""The gateway on real sockets: who leaves, who waits, what is cut, what is sent twice, how it stops."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import trio
from anycorn import serve as serve_by_anycorn
from anycorn.config import Config as Anycorn
from h2.config import H2Configuration
from h2.connection import H2Connection

import fanout
from fanout.catalog.config import Config, GroupTable, LaneTable
from fanout.gateway import answering, serve
from fanout.gateway.app import Gateway
from fanout.gateway.queueing import Queue
from fanout.gateway.serve import Wish, listen, serve_until, settings
from tests.gateway.serving import Served, asking, chunks, config_of, exchange, parse, post, raw, read_all, serving
from tests.gateway.upstream import open_upstream
from tests.servers.openai import OpenAIServer, open_server

PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions")


def body_for(path: str, model: str, **more: Any) -> dict[str, Any]:
    """The smallest body that asks by an interface."""
    match path:
        case "/v1/responses":
            own: dict[str, Any] = {"input": "Hello"}
        case "/v1/completions":
            own = {"prompt": "Hello"}
        case _:
            own = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50}
    return {"model": model, **own, **more}


async def begin(served: Served, path: str, **body: Any) -> trio.SocketStream:
    """Sends a request, and returns its connection."""
    stream = await trio.open_tcp_stream("127.0.0.1", served.port)
    await stream.send_all(raw("POST", path, json.dumps(body).encode()))
    return stream


async def until(done: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not done():  # noqa: ASYNC110  # what is waited for tells nobody
            await trio.sleep(0.005)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_closes_every_upstream(path: str, stream: bool) -> None:
    async with open_server() as upstream:
        lanes = {name: upstream.lane(name, n=3 + i, ttft=30) for i, name in enumerate("abc")}
        async with serving(config_of(lanes)) as served:
            connection = await begin(served, path, **body_for(path, "race:a,b,c", stream=stream))
            await until(lambda: len(upstream.served) == 3)
            left = trio.current_time()
            await connection.aclose()
            with trio.fail_after(2):
                await upstream.all_closed()
            assert trio.current_time() - left < 0.5
            await until(lambda: len(served.log) == 1)
            assert " 499 " in served.log[0]
            assert served.gateway.open == 0


async def test_a_client_that_leaves_in_the_middle_of_an_answer_ends_it_upstream() -> None:
    async with open_server() as upstream, serving(config_of({"a": upstream.lane("a", n=10_000, gap=0.005)})) as served:
        delays = []
        for _ in range(10):
            connection = await begin(served, PATHS[0], **asking("a", stream=True))
            await connection.receive_some()
            await connection.aclose()
            left = trio.current_time()
            with trio.fail_after(2):
                await upstream.all_closed()
            delays.append(trio.current_time() - left)
        assert median(delays) < 0.05


@pytest.mark.parametrize("path", PATHS)
async def test_no_event_is_cut_in_two_and_many_go_out_in_one_write(path: str) -> None:
    async with open_server() as upstream, serving(config_of({"a": upstream.lane("a", n=400)})) as served:
        connection = await begin(served, path, **body_for(path, "a", stream=True))
        async with connection:
            got = await read_all(connection)
        writes = chunks(got.partition(b"\r\n\r\n")[2])
        assert all(write.endswith(b"\n\n") for write in writes)
        assert sum(write.count(b"data: ") for write in writes) >= 400
        assert len(writes) < 400


@pytest.mark.parametrize("path", PATHS)
async def test_a_stream_that_fails_after_its_head_says_so_and_has_no_clean_end(path: str) -> None:
    async with open_server() as upstream, serving(config_of({"cut": upstream.lane("cut", n=9, cut=4)})) as served:
        answered = await post(served, path, body_for(path, "cut", stream=True))
        assert answered.status == 200
        assert b"w3" in answered.body
        assert b"before the answer was over" in answered.body
        for end in (b"[DONE]", b"message_stop", b"response.completed", b'"finish_reason":"stop"'):
            assert end not in answered.body


@pytest.mark.parametrize("path", PATHS)
async def test_there_is_something_to_hear_while_lanes_think(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "PATIENCE", 0.05)
    async with open_server() as upstream, serving(config_of({"a": upstream.lane("a", ttft=0.4)})) as served:
        answered = await post(served, path, body_for(path, "a", stream=True))
        words = b"event: ping" if path == "/v1/messages" else b": keep-alive"
        assert answered.body.count(words) >= 3
        assert b"w2" in answered.body
        failing = await post(served, path, body_for(path, "race:a?first=0.2,a?first=0.2", stream=True))
        assert failing.status == 200
        assert b"no content" in failing.body or b"timeout" in failing.body


async def test_a_plan_that_judges_whole_answers_is_streamed_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "PATIENCE", 0.05)
    async with open_server() as upstream:
        lanes = {"a": upstream.lane("a", n=5, ttft=0.2, gap=0.05), "cut": upstream.lane("cut", n=9, cut=4)}
        groups = {"whole": GroupTable("race", ["cut", "a"], on="finish"), "first": GroupTable("race", ["cut", "a"])}
        async with serving(config_of(lanes, groups)) as served:
            answered = await post(served, PATHS[0], asking("whole", stream=True))
            texts = [e["choices"][0]["delta"].get("content") for e in answered.events[:-1] if e["choices"]]
            assert [text for text in texts if text] == ["w0 w1 w2 w3 w4 "]
            assert b": keep-alive" in answered.body
            assert b'"error"' in (await post(served, PATHS[0], asking("first", stream=True))).body
            listed = {row["id"]: row for row in (await exchange(served.port, raw("GET", "/v1/models"))).json["data"]}
            assert listed["whole"]["fanout"]["streams"] == "verdict"
            assert listed["first"]["fanout"]["streams"] == "first_token"
            shown = (await exchange(served.port, raw("GET", "/v1/models/whole"))).json
            assert shown == listed["whole"]


async def test_winner_and_waste_are_told_in_headers_and_in_the_extension() -> None:
    async with open_server() as upstream:
        lanes = {"fast": upstream.lane("fast"), "slow": upstream.lane("slow", n=9, gap=0.3)}
        async with serving(config_of(lanes)) as served:
            answered = await post(served, PATHS[0], asking("race:slow,fast"), x_request_id="mine-1")
            assert answered.headers["x-fanout-winner"] == "fast"
            assert answered.headers["x-request-id"] == "mine-1"
            assert int(answered.headers["x-fanout-wasted-tokens"]) >= 1
            assert answered.json["fanout"]["winner"] == "fast"
            assert answered.json["fanout"]["lanes"]["slow"]["status"] == "cancelled"
            assert answered.json["model"] == "scripted"
            last = (await post(served, "/v1/messages", body_for("/v1/messages", "fast", stream=True))).events[-2]
            assert last["fanout"]["winner"] == "fast"
            last = (await post(served, "/v1/responses", body_for("/v1/responses", "fast", stream=True))).events[-1]
            assert last["response"]["fanout"]["winner"] == "fast"


@pytest.mark.parametrize(
    "more",
    [
        {"model": "race:down,a"},
        {"model": "hedge:down,a@1s"},
        {"model": "fallback:down,a"},
        {"model": "quorum:down,a,a@2"},
        {"model": "down", "models": ["a"]},
        {"model": "down,a", "fastest_response": True},
        {"model": "group"},
        {"model": "a?temperature=0&timeout=5"},
    ],
    ids=lambda more: str(more["model"]),
)
async def test_a_plan_is_the_name_of_a_model(more: dict[str, Any]) -> None:
    async with open_server() as upstream:
        lanes = {"down": upstream.lane("down", status=503), "a": upstream.lane("a")}
        async with serving(config_of(lanes, {"group": GroupTable("fallback", ["down", "a"])})) as served:
            for stream in (False, True):
                answered = await post(served, PATHS[0], asking(stream=stream, **more))
                assert answered.status == 200, answered.body
                assert answered.headers["x-fanout-winner"].partition("?")[0].partition("#")[0] == "a"


async def test_a_second_request_with_the_same_key_joins_the_first() -> None:
    async with open_server() as upstream, serving(config_of({"a": upstream.lane("a", n=5, gap=0.05)})) as served:
        body = asking("a", stream=True)
        got: list[bytes] = []

        async def ask() -> None:
            got.append((await post(served, PATHS[0], body, idempotency_key="k1")).body)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(lambda: len(upstream.served) == 1)
            nursery.start_soon(ask)
        assert got[0] == got[1]
        again = await post(served, PATHS[0], body, idempotency_key="k1")
        assert again.body == got[0]
        assert again.headers["x-fanout-replayed"] == "true"
        assert len(upstream.served) == 1
        other = await post(served, PATHS[0], asking("a"), idempotency_key="k1")
        assert other.status == 400
        assert "another request" in other.json["error"]["message"]
        await post(served, PATHS[0], body, idempotency_key="k2")
        assert len(upstream.served) == 2


async def test_of_two_requests_that_come_together_with_one_key_one_is_sent() -> None:
    async with open_upstream() as upstream:
        upstream.slow = "chat"
        config = config_of({"a": f"a=openai/m?base_url={upstream.url}/v1&key_env="})
        async with serving(config) as served, trio.open_nursery() as nursery:
            app = served.gateway.app()  # asked without a server, so that nothing comes between the two
            headers = {"host": "127.0.0.1", "content-type": "application/json", "idempotency-key": "k"}
            encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
            said: list[Any] = []

            async def ask() -> None:
                body = [{"type": "http.request", "body": json.dumps(asking("a")).encode(), "more_body": False}]

                async def receive() -> Any:
                    return body.pop() if body else await trio.sleep_forever()

                async def send(message: Any) -> None:
                    said.append(message)

                await app({"type": "http", "method": "POST", "path": PATHS[0], "headers": encoded}, receive, send)

            nursery.start_soon(ask)
            nursery.start_soon(ask)
        assert [message["status"] for message in said if "status" in message] == [200, 200]
        assert len(upstream.asked) == 1


async def test_a_key_that_is_too_long_is_refused_and_not_cut() -> None:
    async with open_server() as upstream, serving(config_of({"a": upstream.lane("a")})) as served:
        assert (await post(served, PATHS[0], asking("a"), idempotency_key="k" * 400)).status == 200
        refused = await post(served, PATHS[0], asking("a"), idempotency_key="k" * 401)
        assert refused.status == 400
        assert "400 characters" in refused.json["error"]["message"]
        assert len(upstream.served) == 1


async def test_a_key_is_its_users_own_and_a_failure_is_not_kept() -> None:
    tokens = ["token-of-the-first-user", "token-of-the-second-user"]
    async with open_server() as upstream:
        lanes = {"a": upstream.lane("a"), "down": upstream.lane("down", status=400)}
        async with serving(config_of(lanes), tokens=tokens) as served:
            for token in tokens:
                await post(served, PATHS[0], asking("a"), idempotency_key="k", authorization=f"Bearer {token}")
            assert len(upstream.served) == 2
            for _ in range(2):
                await post(served, PATHS[0], asking("down"), idempotency_key="d", x_api_key=tokens[0])
            assert len(upstream.served) == 4


async def test_when_all_have_left_a_keyed_request_ends_upstream_too() -> None:
    async with open_server() as upstream, serving(config_of({"a": upstream.lane("a", ttft=30)})) as served:
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        await stream.send_all(raw("POST", PATHS[0], json.dumps(asking("a")).encode(), idempotency_key="k"))
        await until(lambda: len(upstream.served) == 1)
        await stream.aclose()
        with trio.fail_after(2):
            await upstream.all_closed()


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_mistake_of_ours_ends_one_request_and_not_the_gateway(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> bool:
        raise ZeroDivisionError

    async with open_server() as upstream, serving(config_of({"a": upstream.lane("a")})) as served:
        with monkeypatch.context() as patch:
            patch.setattr(answering.Answering, "answer", fail)
            answered = await post(served, PATHS[0], asking("a"), idempotency_key=key)
            assert answered.status == 500
            assert answered.json["error"]["code"] == "internal"
            assert b"ZeroDivision" not in answered.body
        assert (await post(served, PATHS[0], asking("a"), idempotency_key=key)).status == 200


async def test_beyond_the_queue_there_is_a_429_with_a_time() -> None:
    async with open_server() as upstream:
        lanes = {"a": upstream.lane("a", ttft=0.3)}
        async with serving(config_of(lanes), most=1, waiting=1) as served:
            statuses: list[int] = []

            async def ask() -> None:
                answered = await post(served, PATHS[0], asking("a"))
                statuses.append(answered.status)
                if answered.status == 429:
                    assert int(answered.headers["retry-after"]) >= 1
                    assert answered.headers["x-should-retry"] == "true"

            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(ask)
            assert sorted(statuses) == [200, 200, 429, 429]


@pytest.mark.parametrize("path", PATHS)
async def test_a_gateway_that_stops_tells_open_streams_and_ends(path: str) -> None:
    async with open_server() as upstream, serving(config_of({"a": upstream.lane("a", n=1000, gap=0.02)})) as served:
        connection = await begin(served, path, **body_for(path, "a", stream=True))
        async with connection:
            await connection.receive_some()
            served.stop.set()
            with trio.fail_after(3):
                rest = await read_all(connection)
        assert b"the gateway is stopping" in rest
        assert b"[DONE]" not in rest
        with trio.fail_after(2):
            await upstream.all_closed()


async def test_a_connection_that_is_to_be_closed_is_closed() -> None:
    # With Starlette's own streaming response hypercorn never closes it under Trio.
    async with open_server() as upstream, serving(config_of({"a": upstream.lane("a")})) as served:
        with trio.fail_after(3):
            answered = await post(served, PATHS[0], asking("a", stream=True), connection="close")
        assert answered.events[-1] == "[DONE]"


async def test_a_connection_that_is_kept_serves_the_next_request() -> None:
    async with open_server() as upstream, serving(config_of({"a": upstream.lane("a")})) as served:
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        request = json.dumps(asking("a", stream=True)).encode()
        for _ in range(3):
            await stream.send_all(raw("POST", PATHS[0], request, connection="keep-alive"))
            got = b""
            with trio.fail_after(3):
                while not got.endswith(b"0\r\n\r\n"):
                    got += await stream.receive_some()
            assert parse(got).events[-1] == "[DONE]"
        await stream.aclose()


async def test_anycorn_may_stand_in_hypercorns_place() -> None:
    async with open_server() as upstream:
        config = config_of({"a": upstream.lane("a", n=1000, gap=0.01), "b": upstream.lane("b")})
        wish = Wish(port=0)
        sock = listen(wish)
        port = sock.getsockname()[1]
        gateway = Gateway(wish.guard(), config, Queue(9, 9), fanout.open_transport, lambda _: None)
        ready, stop = trio.Event(), trio.Event()
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                made = settings(wish, sock.detach(), Anycorn)
                nursery.start_soon(serve_until, gateway, made, stop.wait, ready.set, serve_by_anycorn)
                await ready.wait()
                answered = await exchange(port, raw("POST", PATHS[0], json.dumps(asking("b", stream=True)).encode()))
                assert answered.events[-1] == "[DONE]"
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                await stream.send_all(raw("POST", PATHS[0], json.dumps(asking("a", stream=True)).encode()))
                await stream.receive_some()
                await stream.aclose()
                await upstream.all_closed()
                stop.set()


async def test_http2_is_spoken() -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    async with open_server() as upstream, serving(config_of({"a": upstream.lane("a")}), by_hypercorn=True) as served:
        words = ["curl", "-s", "--http2-prior-knowledge", "-w", "%{http_version}", f"{served.url}{PATHS[0]}"]
        words += ["-H", "content-type: application/json", "-d", json.dumps(asking("a", stream=True))]
        done = await trio.run_process(words, capture_stdout=True, check=False)
        if done.returncode == 2:
            pytest.skip("this curl knows no HTTP/2")
        assert done.stdout.endswith(b"data: [DONE]\n\n2")


async def test_tokens_are_counted_by_the_lane_or_estimated_and_never_fail() -> None:
    async with open_upstream() as upstream:
        lanes = {
            "a": f"a=openai/m?base_url={upstream.url}/v1&key_env=",
            "dead": "dead=anthropic/m?base_url=http://127.0.0.1:9&key_env=",
        }
        async with serving(config_of(lanes)) as served:
            for model in lanes:
                said = {"model": model, "messages": [{"role": "user", "content": "x" * 400}]}
                answered = await post(served, "/v1/messages/count_tokens", said)
                assert answered.status == 200
                assert 90 <= answered.json["input_tokens"] <= 120


async def test_a_count_goes_by_the_lanes_own_proxy() -> None:
    async with open_upstream() as upstream:
        lane = LaneTable(f"anthropic/m?base_url={upstream.url}&key_env=", proxy="http://127.0.0.1:9")
        async with serving(Config({"a": lane}, {})) as served:
            said = {"model": "a", "messages": [{"role": "user", "content": "private"}]}
            assert (await post(served, "/v1/messages/count_tokens", said)).status == 200
        assert upstream.asked == []


async def test_a_count_waits_for_its_turn_like_an_answer() -> None:
    async with open_server() as upstream:
        config = config_of({"a": upstream.lane("a", ttft=0.5)})
        async with serving(config, most=1, waiting=0) as served, trio.open_nursery() as nursery:
            nursery.start_soon(post, served, PATHS[0], asking("a"))
            await until(lambda: len(upstream.served) == 1)
            said = {"model": "a", "messages": [{"role": "user", "content": "x"}]}
            refused = await post(served, "/v1/messages/count_tokens", said)
            assert refused.status == 429
            assert refused.json["error"]["type"] == "rate_limit_error"
            assert int(refused.headers["retry-after"]) >= 1


async def test_the_log_has_no_escapes_of_a_method() -> None:
    async with serving(by_hypercorn=True) as served:
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        async with stream:
            client = H2Connection(H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False))
            client.initiate_connection()
            pseudo = {":method": "GET\x1b]0;x\x07 forged POST /v1/messages 200", ":path": "/healthz"}
            client.send_headers(1, [*pseudo.items(), (":scheme", "http"), (":authority", "localhost")], end_stream=True)
            await stream.send_all(client.data_to_send())
            await until(lambda: bool(served.log))
        assert served.log[0].isprintable()
        assert "MESSAGES" not in served.log[0]


async def test_what_happens_is_counted() -> None:
    async with open_server() as upstream, serving(config_of({"a": upstream.lane("a")})) as served:
        await post(served, PATHS[0], asking("a"))
        await post(served, PATHS[0], asking("nobody"))
        text = (await exchange(served.port, raw("GET", "/metrics"))).body.decode()
        assert 'fanout_requests_total{path="/v1/chat/completions",status="200"} 1' in text
        assert 'fanout_requests_total{path="/v1/chat/completions",status="400"} 1' in text
        assert 'fanout_lanes_total{provider="openai",status="finished"} 1' in text
        assert 'fanout_tokens_total{kind="output"} 3' in text
        assert "fanout_open 1" in text
        assert "nobody" not in text


@pytest.mark.slow
async def test_clients_that_leave_at_random_leave_nothing() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def visit(served: Served, upstream: OpenAIServer, number: int) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        async with stream:
            with trio.move_on_after((number * 37 % 100) / 1000):
                body = json.dumps(asking("race:a,b", stream=True)).encode()
                await stream.send_all(raw("POST", PATHS[0], body))
                await read_all(stream)

    async with open_server() as upstream:
        lanes = {"a": upstream.lane("a", n=50, gap=0.01), "b": upstream.lane("b", ttft=0.05, n=50, gap=0.01)}
        async with serving(config_of(lanes)) as served:
            for round_number in range(4):
                if round_number == 1:
                    before = descriptors()
                async with trio.open_nursery() as nursery:
                    for number in range(50):
                        nursery.start_soon(visit, served, upstream, number)
                await until(lambda: served.gateway.open == 0)
                with trio.fail_after(2):
                    await upstream.all_closed()
            await trio.sleep(0.1)
            assert descriptors() <= before + 5


@pytest.mark.parametrize(("depth", "status"), [(150, 200), (250, 400), (1000, 400), (5000, 400)])
async def test_a_body_that_is_nested_too_deep_is_a_bad_request(depth: int, status: int) -> None:
    async with open_server() as upstream, serving(config_of({"a": upstream.lane("a")})) as served:
        said = json.dumps(asking("a", metadata="@")).replace('"@"', '{"a":' * depth + "1" + "}" * depth)
        answered = await exchange(served.port, raw("POST", PATHS[0], said.encode()))
        assert answered.status == status


async def test_a_model_of_gemini_cannot_lead_out_of_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "not-sent-anywhere")
    async with serving() as served:
        for model in ("gemini/../x", "gemini/tunedModels/../../x", "gemini/a/./b"):
            answered = await post(served, PATHS[0], asking(model))
            assert answered.status == 400
            assert "in its path" in answered.json["error"]["message"]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_of_thoughts_alone_is_refused_with_its_reason(
    stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.gateway.upstream.PIECES", ())
    async with open_upstream() as upstream:
        upstream.thinks = True
        async with serving(config_of({"a": f"a=openai/m?base_url={upstream.url}/v1&key_env="})) as served:
            answered = await post(served, PATHS[0], asking("a", stream=stream))
        assert answered.status == 502
        error = answered.json["error"]
        assert error["code"] == "refused"
        assert "its answer was empty, and ended with stop" in error["message"]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such clock")
async def test_a_client_that_never_reads_does_not_hold_its_turn_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "UNREAD", 0.5)
    monkeypatch.setattr("tests.gateway.upstream.PIECES", ("x" * 1_000_000,) * 20)
    async with open_upstream() as upstream:
        config = config_of({"a": f"a=openai/m?base_url={upstream.url}/v1&key_env="})
        async with serving(config, most=1) as served:
            connection = await begin(served, PATHS[0], **asking("a", stream=True))
            await until(lambda: served.gateway.queue.running == 1)
            with trio.fail_after(8):
                while served.gateway.queue.running:  # noqa: ASYNC110  # what is waited for tells nobody
                    await trio.sleep(0.05)
            await connection.aclose()
