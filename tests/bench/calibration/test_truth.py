"""The service that knows when it sent what."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, IncompleteRead
from typing import Any
from urllib.parse import urlsplit

import pytest

from fanout.bench.calibration.truth import AnswerSpec, Sent, Truth, open_truth
from fanout.errors import UsageError


@pytest.fixture(scope="module")
def truth() -> Iterator[Truth]:
    with open_truth(60) as truth:
        yield truth


def ask(truth: Truth, *, stream: bool = True, **wish: float) -> tuple[int, bytes]:
    """The status and the body, as far as it comes."""
    parts = urlsplit(truth.base_url(ttft=20, gap=2, **wish))
    body = json.dumps({"stream": stream, "max_tokens": 6, "messages": [{"role": "user", "content": "12345678"}]})
    with closing(HTTPConnection(parts.netloc, timeout=5)) as connection:
        connection.request("POST", f"{parts.path}/chat/completions", body)
        response = connection.getresponse()
        try:
            return response.status, response.read()
        except IncompleteRead as error:
            return response.status, error.partial


def taken(truth: Truth) -> Sent:
    """Returns what it sent, when it is over: it hears of a client's end when the kernel says so."""
    for _ in range(500):
        if found := truth.take():
            (sent,) = found
            return sent
        time.sleep(0.01)
    raise AssertionError("nothing is over")


def deltas(body: bytes) -> list[dict[str, Any]]:
    values = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    return [choice["delta"] for value in values for choice in value.get("choices", ())]


def test_an_answer_keeps_to_its_schedule_and_the_log_says_so(truth: Truth) -> None:
    status, body = ask(truth)
    sent = taken(truth)
    assert status == 200
    assert [token for token, _ in sent.pieces] == list(range(6))
    assert (sent.how, sent.tokens) == ("done", 6)
    assert all(time_ >= 0.02 + 0.002 * i for i, time_ in enumerate(sent.times))
    assert sent.asked < sent.pieces[0][1] < sent.over <= time.monotonic_ns()
    assert b'"completion_tokens":6' in body
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"role": 1}, [{"role": "assistant", "content": ""}]),
        ({"empty": 2}, [{"content": ""}, {"content": ""}]),
        ({"reason": 1}, [{"reasoning_content": " the"}, {"content": " of"}]),
        ({"tpc": 4}, [{"content": " the of and to"}, {"content": " in that"}, {}]),
    ],
)
def test_chunks_are_as_wished(truth: Truth, wish: dict[str, Any], expected: list[dict[str, str]]) -> None:
    _, body = ask(truth, **wish)
    taken(truth)
    assert deltas(body)[: len(expected)] == expected


def test_comments_lie_between_the_request_and_the_first_token(truth: Truth) -> None:
    _, body = ask(truth, ping=3, usage=0)
    assert body.count(b": ping\n\n") == 3
    assert b"usage" not in body
    assert taken(truth).times[0] >= 0.02


@pytest.mark.parametrize(
    ("wish", "status", "how", "pieces"),
    [({"err": 1}, 500, "error", 0), ({"errs": 1}, 200, "broken", 3), ({"cut": 1}, 200, "cut", 3)],
)
def test_faults_are_as_wished(truth: Truth, wish: dict[str, Any], status: int, how: str, pieces: int) -> None:
    got, body = ask(truth, **wish)
    sent = taken(truth)
    assert (got, sent.how, len(sent.pieces)) == (status, how, pieces)
    assert b"[DONE]" not in body


def test_faults_hit_about_as_large_a_share_of_the_requests_as_wished(truth: Truth) -> None:
    shares = [ask(truth, err=0.5, seed=4)[0] for _ in range(20)]
    truth.take()
    assert 3 < shares.count(500) < 17


def test_without_a_stream_there_is_one_document_when_the_last_token_is_made(truth: Truth) -> None:
    _, body = ask(truth, stream=False)
    assert json.loads(body)["choices"][0]["message"]["content"] == " the of and to in that"
    assert taken(truth).times[0] >= 0.03


def test_a_client_that_leaves_is_noted(truth: Truth) -> None:
    parts = urlsplit(truth.base_url(ttft=500))
    with closing(HTTPConnection(parts.netloc)) as connection:
        connection.request("POST", f"{parts.path}/chat/completions", '{"stream": true}')
        connection.getresponse()
    assert taken(truth).how == "gone"


def test_what_it_cannot_do_is_said(truth: Truth) -> None:
    with pytest.raises(UsageError, match="there is no speed"):
        truth.base_url(speed=3)
    with closing(HTTPConnection(urlsplit(truth.url).netloc)) as connection:
        connection.request("POST", "/speed=3/v1/chat/completions", "{}")
        assert connection.getresponse().status == 400
    assert AnswerSpec.of("gap=5&role=1") == AnswerSpec(gap=5, role=1)
    assert AnswerSpec.of("") == AnswerSpec()


def test_it_listens_on_this_machine_only(truth: Truth) -> None:
    assert urlsplit(truth.url).hostname == "127.0.0.1"
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in addresses:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((str(address), urlsplit(truth.url).port or 0), 1)


@pytest.mark.slow
def test_it_ends_after_its_time_and_with_its_parent() -> None:
    command = [sys.executable, "-m", "fanout.bench.calibration.truth"]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, "0.2"], stdin=pipe, stdout=pipe) as short:
        assert short.wait(10) == 0
    with subprocess.Popen([*command, "60"], stdin=pipe, stdout=pipe) as orphan:
        assert orphan.stdin and orphan.stdout
        orphan.stdout.readline()
        orphan.stdin.close()
        assert orphan.wait(10) == 0


def test_a_service_that_does_not_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UsageError, match="does not start"), open_truth():
        pass
