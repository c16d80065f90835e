"""Advice for the user about a lane that failed."""

from fanout import Answer
from fanout.cli.options import CLOCK_FLAGS
from fanout.errors import LocalModelError, LoginRequired, NotFound, ProviderError, TimedOut
from fanout.formats.summary import Who, explain, one_line, state

_CLOCKS = {**CLOCK_FLAGS, "deadline": "--deadline"}
_ADVICE = {
    "auth": "`fanout providers` shows which variable holds the key",
    "quota": "top up the account, or choose another lane with -m",
    "rate_limit": "try again later, or add a lane of another provider with -m",
    "overloaded": "try again later, or add a lane of another provider with -m",
    "invalid_request": "check the lane's options and the length of the prompt",
    "not_found": "`fanout models {provider}` lists what there is",
    "connect": "check the address and the network",
    "reset": "try again, or with --retries 2",
    "truncated": "try again, or with --retries 2",
    "server": "try again later, or add a lane of another provider with -m",
    "not_a_stream": "check the lane's address: a web page answered",
    "redirect_refused": "check the lane's base_url: it must be the final address",
}

_AFTER_CUT = "-o max_tokens N allows more"

_TOO_FEW = {"finished": "too few others did", "cancelled": "only when too few others could answer"}
"""The words for lanes of which nothing was wrong, where a quorum came to nothing."""


def failure(answer: Answer, who: Who = "winner") -> str:
    """Makes one line of the lane, why it gave no answer that counts, and what to do."""
    error = answer.error
    why = explain(answer) or state(answer)
    if who == "quorum" and why in _TOO_FEW:
        why = f"{why}, but {_TOO_FEW[why]}"
    said = f"{one_line(answer.lane)}: {why}"
    if error is None:
        what = _AFTER_CUT if answer.finish_reason == "length" and not answer.answered else ""
    else:
        what = "" if "`" in error.message else advice(answer, error)
    return f"{said}; {what}" if what else said


def advice(answer: Answer, error: ProviderError) -> str:
    """Returns advice, or an empty string where nothing helps."""
    if isinstance(error, TimedOut):
        option = _CLOCKS.get(error.clock or "")
        return f"{option} sets another limit" if option else "try again later"
    if isinstance(error, LocalModelError):
        return ""  # its message says what to do
    if isinstance(error, LoginRequired):
        return _login(error.command)
    if error.kind == "auth" and error.status:
        return f"{_ADVICE['auth']}; a lane with a base_url of its own names it with key_env"
    if isinstance(error, NotFound) and error.url and answer.elsewhere:
        return f"{one_line(error.url)} was not found: check the model, and the base_url (does it end in /v1?)"
    if error.retry_after:
        return f"try again in {error.retry_after:g} s"
    return _ADVICE.get(error.kind, "").format(provider=answer.provider or "PROVIDER")


def _login(command: str) -> str:
    """The ways to log in: by `command`, and without a display if that one opens a browser."""
    typed = one_line(command)
    if not typed:
        return ""
    told = f"`{typed}` logs you in"
    name = typed.removeprefix("fanout login ")
    return told if name == typed else f"{told}, and where there is no display `fanout auth import {name}`"
