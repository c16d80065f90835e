import pytest
from attrs import evolve

from fanout.answers import Answer
from fanout.cli.screen.advice import failure
from fanout.errors import (
    AuthError,
    ConnectError,
    LoginRequired,
    NotFound,
    ProtocolError,
    ProviderError,
    RateLimited,
    TimedOut,
)
from fanout.events import Status

LOG_IN = "`fanout login huggingchat` logs you in, and where there is no display `fanout auth import huggingchat`"
LINE = "x --base-url 'http://127.0.0.1/ '"
ANSWER = Answer(lane="a", provider="groq")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            AuthError("no key: set GROQ_API_KEY"),
            "a: auth: no key: set GROQ_API_KEY; `fanout providers` shows which variable holds the key",
        ),
        (
            AuthError("who are you", status=401),
            (
                "a: auth (401): who are you; `fanout providers` shows which variable holds the key; "
                "a lane with a base_url of its own names it with key_env"
            ),
        ),
        (RateLimited("slow down", status=429, retry_after=12.0), "a: rate_limit (429): slow down; try again in 12 s"),
        (
            NotFound("no such model", status=404),
            "a: not_found (404): no such model; `fanout models groq` lists what there is",
        ),
        (
            ConnectError("cannot reach 127.0.0.1: refused"),
            "a: connect: cannot reach 127.0.0.1: refused; check the address and the network",
        ),
        (
            TimedOut("no content within 5 s", clock="first", seconds=5),
            "a: timeout: no content within 5 s; --first sets another limit",
        ),
        (TimedOut("the service gave up", status=504), "a: timeout (504): the service gave up; try again later"),
        (ProtocolError("nonsense"), "a: protocol: nonsense"),
        (AuthError("log in with `fanout login x`"), "a: auth: log in with `fanout login x`"),
        (
            LoginRequired("it needs a login", command="fanout login huggingchat"),
            f"a: auth: it needs a login; {LOG_IN}",
        ),
        (
            LoginRequired("there is no display", command="fanout auth import huggingchat"),
            "a: auth: there is no display; `fanout auth import huggingchat` logs you in",
        ),
        (
            LoginRequired("it needs a login", command="fanout login huggingchat --base-url http://127.0.0.1:3040"),
            f"a: auth: it needs a login; {LOG_IN.replace('chat`', 'chat --base-url http://127.0.0.1:3040`')}",
        ),
        (
            LoginRequired("no", command="fanout login x --base-url 'http://127.0.0.1/\x1b[31m\n'"),
            f"a: auth: no; {LOG_IN.replace('huggingchat', LINE)}",
        ),
        (LoginRequired("it needs a login", command=""), "a: auth: it needs a login"),
        (AuthError("two\nlines \x1b[31m"), "a: auth: two lines; `fanout providers` shows which variable holds the key"),
    ],
)
def test_a_failed_lane_is_one_line_that_says_what_to_do(error: ProviderError, line: str) -> None:
    assert failure(evolve(ANSWER, status=Status.FAILED, error=error)) == line


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            evolve(ANSWER, status=Status.FINISHED, reasoning="Hm", finish_reason="length"),
            "a: its answer was empty: max_tokens went into reasoning; -o max_tokens N allows more",
        ),
        (evolve(ANSWER, status=Status.FINISHED), "a: its answer was empty"),
        (evolve(ANSWER, status=Status.CANCELLED, elapsed=1.0), "a: cancelled"),
        (evolve(ANSWER, status=Status.CANCELLED), "a: not started"),
        (evolve(ANSWER, status=Status.FINISHED, text="x"), "a: finished"),
    ],
)
def test_a_lane_without_an_error_is_explained_too(answer: Answer, line: str) -> None:
    assert failure(answer) == line
