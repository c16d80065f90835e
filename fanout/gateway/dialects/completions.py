"""Completions, the oldest dialect: a text is gone on with. Lanes are asked with it as with a user's message."""

from collections.abc import Mapping, Sequence
from typing import Any

from fanout.answers import Answer
from fanout.errors import UsageError
from fanout.events import Delta, Event, Replace
from fanout.gateway.dialects.asked import (
    SILENT,
    Asked,
    Fields,
    make_options,
    make_prompt,
    optional_switch,
    read_model,
)
from fanout.gateway.dialects.chat import error_of, finish_of, usage_of, with_notes
from fanout.gateway.dialects.faults import Fault
from fanout.gateway.dialects.replaced import Text
from fanout.gateway.dialects.writer import Made, event
from fanout.prompt import Message

_HARMLESS: Mapping[str, Sequence[Any]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (0,),
    "suffix": ("",),
}


def read(body: Mapping[str, Any]) -> Asked:
    """Returns what a body of Completions asks. Raises UsageError with the name of what is wrong."""
    fields = Fields(body)
    model, prompts = read_model(fields), fields.texts("prompt")
    if len(prompts) != 1:
        raise UsageError("prompt must be one text; send a request for each of several")
    models, fastest, stream = fields.texts("models"), fields.switch("fastest_response"), fields.switch("stream")
    counted = optional_switch(fields.table("stream_options"), "include_usage")
    options = make_options(
        max_tokens=fields.whole("max_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        stop=fields.texts("stop"),
        seed=fields.whole("seed"),
    )
    own = fields.own(("frequency_penalty", "presence_penalty", "logit_bias"))
    fields.refuse(_HARMLESS)
    fields.leave(SILENT)
    fields.check_all_taken()
    prompt = make_prompt([Message("user", prompts[0])] if prompts[0].strip() else [], options)
    return Asked("chat", model, prompt, stream, models, fastest, counted, own, given=body)


class CompletionsWriter:
    """Writes one answer as chunks of Completions, which have a place for text alone."""

    def __init__(self, asked: Asked, made: Made) -> None:
        self._counted = asked.counted
        self._made = made
        self._text = Text()

    def begin(self) -> bytes:
        """Returns nothing."""
        return b""

    def feed(self, events: Sequence[Event]) -> bytes:
        """Returns a chunk for each piece of text."""
        texts = [self._text.news_of(one) for one in events if isinstance(one, Delta | Replace)]
        return b"".join(self._chunk(text) for text in texts if text)

    def ping(self) -> bytes:
        """Returns a comment."""
        return b": keep-alive\n\n"

    def close(self, answer: Answer, figures: Mapping[str, Any]) -> bytes:
        """Returns the chunk with the finish reason, that with the counts if they were asked for, and the end mark."""
        out = [self._chunk("", _finish(answer))]
        if self._counted:
            counts = {"choices": [], "usage": usage_of(answer.usage), "fanout": with_notes(figures, self._text)}
            out.append(event({**self._fields(), **counts}))
        return b"".join([*out, b"data: [DONE]\n\n"])

    def fail(self, fault: Fault) -> bytes:
        """Returns the error, after which nothing comes."""
        return event(error_of(fault))

    def whole(self, answer: Answer, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the answer as one document."""
        choice = {"index": 0, "text": answer.text or answer.refusal, "logprobs": None, "finish_reason": _finish(answer)}
        return {**self._fields(), "choices": [choice], "usage": usage_of(answer.usage), "fanout": figures}

    def _chunk(self, text: str, finish: str | None = None) -> bytes:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        return event({**self._fields(), "choices": [choice], **({"usage": None} if self._counted else {})})

    def _fields(self) -> dict[str, Any]:
        made = self._made
        return {"id": f"cmpl-{made.id}", "object": "text_completion", "created": made.created, "model": made.model}


def _finish(answer: Answer) -> str:
    finish = finish_of(answer)
    return finish if finish in ("stop", "length", "content_filter") else "stop"
