"""A conversation at a HuggingChat server: the message that the next one answers, and what a caller keeps of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from attrs import frozen

from fanout.abc import Head, Reply
from fanout.errors import NotAStream, ProtocolError, ProviderError
from fanout.wire.devalue import page_nodes, unflatten
from fanout.wire.faults import is_answer
from fanout.wire.json_text import JsonText, encode, show

Api = Literal["data", "v2"]
"""The place of a server's conversations: the data of its pages (2025), or an interface of its own (since June 2025)."""

Judge = Callable[[Head, bytes], ProviderError]
"""Makes the error of a response that is no answer."""


@frozen
class Place:
    """A place for the next message in a conversation: it answers the message `leaf`.

    `run` is the name that the answer is given, by which a server of 2026 knows it later; `model` is the name of the
    conversation's model.
    """

    conversation: str
    leaf: str
    api: Api
    model: str
    run: str | None = None

    def state(self, owner: Mapping[str, str]) -> dict[str, Any]:
        """Returns plain data, for a caller to keep."""
        place = {"conversation": self.conversation, "leaf": self.leaf, "api": self.api}
        return {**owner, "model": self.model, **place, "run": self.run}


def read_place(state: Mapping[str, Any] | None, owner: Mapping[str, str], model: str | None) -> Place | None:
    """Reads the place that a caller has kept, if it is the owner's and has this model; None stands for any."""
    match state or {}:
        case {
            "conversation": str(conversation),
            "leaf": str(leaf),
            "api": "data" | "v2" as api,
            "model": str(kept),
            **more,
        }:
            ours = all(more.get(name) == value for name, value in owner.items())
            if ours and model in (None, kept):
                return Place(conversation, leaf, api, kept, more.get("run"))
    return None


def path_of(conversation: str, api: Api) -> str:
    """Returns the path of a conversation's messages. One digit a layout level: 01 leaves out all but the page."""
    if api == "v2":
        return f"api/v2/conversations/{conversation}"
    return f"conversation/{conversation}/__data.json?x-sveltekit-invalidated=01"


def read_messages(reply: Reply, api: Api, judge: Judge) -> list[Mapping[str, Any]] | None:
    """Reads the messages in the reply to a request for `path_of`; None from a server that does not have them there.

    Raises what `judge` makes of a refusal, and ProtocolError if there are none.
    """
    if not is_answer(reply.head.status):
        raise judge(reply.head, reply.body)
    if is_web_page(reply):
        return None
    root = read_object(reply).get("json") if api == "v2" else _read_page(reply.body, judge)
    if root is None:
        return None
    return check_messages(root)


def check_messages(conversation: Any) -> list[Mapping[str, Any]]:
    """Returns the messages of a conversation, the newest last. Raises ProtocolError if there are none."""
    messages = conversation.get("messages") if isinstance(conversation, dict) else None
    if messages and isinstance(messages, list) and all(isinstance(m, dict) and _id(m) for m in messages):
        return messages
    raise ProtocolError(f"a conversation without messages: {show(conversation)}")


def find_leaf(place: Place, messages: Sequence[Mapping[str, Any]]) -> str:
    """Finds the message to go on from: the answer that was given at `place`.

    The caller's conversation holds that one and not what others may have written since. A turn that failed has left an
    empty answer, which nothing should follow.
    """
    answers = [message for message in messages if message.get("from") == "assistant" and _has_content(message)]
    named = [message for message in answers if place.run and message.get("generationId") == place.run]
    below = [message for message in answers if _parent_of_question(message) == place.leaf]
    if found := named or below:
        return _id(found[-1])
    if answers and answers[-1] is messages[-1]:
        return _id(messages[-1])
    return next((_id(message) for message in messages if _id(message) == place.leaf), _id((answers or messages)[-1]))


def is_web_page(reply: Reply) -> bool:
    """True for a web page, which a server of 2025 sends for a route that it does not have."""
    return reply.head.headers.get("content-type", "").startswith("text/html")


def read_object(reply: Reply) -> dict[str, Any]:
    """Reads the object in a reply. Raises NotAStream for a web page, ProtocolError for anything else."""
    if is_web_page(reply):
        raise NotAStream("a web page in the place of data: the base URL must be the root of the web application")
    value = JsonText().decode(reply.body.decode("utf-8", "replace"))
    if not isinstance(value, dict):
        raise ProtocolError(f"JSON, but no object: {show(value)}")
    return value


def _read_page(body: bytes, judge: Judge) -> Any:
    """Reads the data of the page, None if the server has it elsewhere. An error comes in its place, with status 200."""
    for node in reversed(page_nodes(body)):
        match node:
            case {"type": "error", "error": error}:
                status = node.get("status")
                raise judge(Head(status if type(status) is int and status >= 400 else 500), encode(error).encode())
            case {"type": "data", "data": data}:
                root = unflatten(data)
                if isinstance(root, dict) and "messages" in root:
                    return root
    return None


def _id(message: Mapping[str, Any]) -> str:
    found = message.get("id")
    return found if isinstance(found, str) else ""


def _has_content(message: Mapping[str, Any]) -> bool:
    updates = message.get("updates")
    kinds = [update.get("type") for update in updates if isinstance(update, dict)] if isinstance(updates, list) else []
    return bool(message.get("content") or message.get("files") or "file" in kinds)


def _parent_of_question(answer: Mapping[str, Any]) -> Any:
    """Returns the message that the question of this answer was sent to."""
    ancestors = answer.get("ancestors")
    return ancestors[-2] if isinstance(ancestors, list) and len(ancestors) > 1 else None
