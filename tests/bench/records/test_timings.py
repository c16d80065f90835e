"""The services' own timings, found where they tell them."""

import pytest

from fanout.bench.records.timings import TIMING_MARKS, read_timings

LLAMA = (
    b'data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"timings":{"cache_n":0,"prompt_n":12,'
    b'"prompt_ms":8.25,"prompt_per_token_ms":0.69,"predicted_n":64,"predicted_ms":512.0,"predicted_per_token_ms":8.0}}\n\n'
)
OLLAMA = (
    b'{"model":"m","done":true,"total_duration":2000000000,"load_duration":1,"prompt_eval_count":5,'
    b'"prompt_eval_duration":250000000,"eval_count":50,"eval_duration":500000000}\n'
)


def test_llama_cpp_tells_of_the_prompt_and_of_each_token() -> None:
    assert dict(read_timings(LLAMA)) == {"prompt": pytest.approx(0.00825), "token": pytest.approx(0.008)}


def test_ollama_tells_of_all_tokens_together() -> None:
    assert dict(read_timings(OLLAMA)) == {
        "total": pytest.approx(2.0),
        "prompt": pytest.approx(0.25),
        "token": pytest.approx(0.01),
    }


@pytest.mark.parametrize("read", [LLAMA, OLLAMA])
def test_such_a_read_has_a_mark(read: bytes) -> None:
    assert any(mark in read for mark in TIMING_MARKS)


@pytest.mark.parametrize(
    "read",
    [b"", b'{"prompt_ms":"soon"}', b'{"prompt_ms":-1}', b'{"prompt_ms":1e999}', b'{"eval_duration":5,"eval_count":0}'],
)
def test_what_is_no_time_is_left_out(read: bytes) -> None:
    assert dict(read_timings(read)) == {}
