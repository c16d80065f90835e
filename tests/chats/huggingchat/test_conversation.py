import json
from typing import Any

import pytest

from fanout.abc import Head, Reply
from fanout.chats.huggingchat.conversation import (
    Api,
    Place,
    check_messages,
    find_leaf,
    path_of,
    read_messages,
    read_object,
    read_place,
)
from fanout.errors import NotAStream, NotFound, ProtocolError, ProviderError, ServerError
from fanout.wire.faults import response_error
from tests.servers.huggingchat import flattened, recorded

OWNER = {"base": "https://chat.test", "account": "0123456789abcdef"}
PLACE = Place("c1", "root", "v2", "org/text", "run-1")


def reply_of(generation: int, name: str) -> Reply:
    exchange = next(found for found in recorded(generation) if found.name == name)
    return Reply(Head(exchange.status, exchange.headers), b"".join(exchange.chunks))


def json_reply(value: Any) -> Reply:
    return Reply(Head(200, {"content-type": "application/json"}), json.dumps(value).encode())


def test_what_a_caller_keeps_is_plain_data_and_leads_back() -> None:
    state = PLACE.state(OWNER)
    assert json.loads(json.dumps(state)) == state
    assert read_place(state, OWNER, "org/text") == PLACE
    assert read_place(state, OWNER, None) == PLACE


@pytest.mark.parametrize(
    "change",
    [
        {"base": "https://other.test"},
        {"account": "other"},
        {"model": "org/other"},
        {"conversation": None},
        {"api": "v3"},
    ],
)
def test_what_is_another_owners_or_models_leads_nowhere(change: dict[str, Any]) -> None:
    assert read_place({**PLACE.state(OWNER), **change}, OWNER, "org/text") is None


@pytest.mark.parametrize("state", [None, {}, {"chat": "333222111000999888"}])
def test_without_a_state_of_its_own_there_is_no_place(state: Any) -> None:
    assert read_place(state, OWNER, None) is None


def test_each_generation_has_its_path() -> None:
    assert path_of("c1", "v2") == "api/v2/conversations/c1"
    assert path_of("c1", "data") == "conversation/c1/__data.json?x-sveltekit-invalidated=01"


LEAVES: list[tuple[int, Api, str, list[str]]] = [
    (2025, "data", "leaf id", ["system"]),
    (2025, "data", "leaf id, both nodes asked", ["system"]),
    (2025, "data", "leaf id after the first answer", ["system", "user", "assistant"]),
    (2025, "data", "leaf id after the second answer", ["system", *["user", "assistant"] * 2]),
    (2025, "data", "leaf id after the regenerated answer", ["system", *["user", "assistant"] * 2, "assistant"]),
    (2025, "data", "leaf id after an error inside the stream", ["system", "user", "assistant"]),
    (2026, "v2", "leaf id", ["system"]),
    (2026, "v2", "leaf id after the first answer", ["system", "user", "assistant"]),
    (2026, "v2", "leaf id after the second answer", ["system", *["user", "assistant"] * 2]),
    (2026, "v2", "leaf id after a message with a file", ["system", "user", "assistant"]),
    (2026, "v2", "leaf id after an error inside the stream", ["system", "user", "assistant"]),
]


@pytest.mark.parametrize(("generation", "api", "name", "roles"), LEAVES)
def test_recorded_conversations_are_read(generation: int, api: Api, name: str, roles: list[str]) -> None:
    messages = read_messages(reply_of(generation, name), api, response_error)
    assert messages is not None
    assert [message["from"] for message in messages] == roles


@pytest.mark.parametrize(
    ("generation", "api", "name"),
    [
        (2025, "v2", "leaf id by the route of the other generation"),
        (2026, "data", "leaf id by the route of the other generation"),
        (2026, "data", "leaf id by the route of the other generation, both nodes asked"),
    ],
)
def test_the_other_generation_says_that_it_has_its_conversations_elsewhere(
    generation: int, api: Api, name: str
) -> None:
    assert read_messages(reply_of(generation, name), api, response_error) is None


@pytest.mark.parametrize(
    ("generation", "api", "name", "status"),
    [
        (2025, "data", "error: leaf id, another session", 403),
        (2025, "data", "error: leaf id, unknown conversation", 404),
        (2025, "data", "error: leaf id, malformed conversation id", 500),
        (2026, "v2", "error: leaf id, another session", 403),
        (2026, "v2", "error: leaf id, unknown conversation", 404),
        (2026, "v2", "error: leaf id, malformed conversation id", 400),
    ],
)
def test_refusals_are_judged_with_their_status_wherever_it_stands(
    generation: int, api: Api, name: str, status: int
) -> None:
    with pytest.raises(ProviderError) as refused:
        read_messages(reply_of(generation, name), api, response_error)
    assert refused.value.status == status
    assert "conversation" in refused.value.message.lower() or "An error occurred" in refused.value.message


def test_an_error_of_the_page_with_an_odd_status_is_the_servers() -> None:
    for status in (None, "403", 200):
        node = {"type": "error", "error": {"message": "no"}, "status": status}
        with pytest.raises(ServerError, match="no"):
            read_messages(json_reply({"type": "data", "nodes": [node]}), "data", response_error)
    with pytest.raises(NotFound):
        read_messages(json_reply({"type": "data", "nodes": [{**node, "status": 404}]}), "data", response_error)


@pytest.mark.parametrize("value", [None, 5, [], {}, {"messages": []}, {"messages": [5]}, {"messages": [{"id": 5}]}])
def test_a_conversation_without_messages_is_a_protocol_error(value: Any) -> None:
    with pytest.raises(ProtocolError):
        check_messages(value)


def test_a_page_whose_data_has_no_messages_is_not_it() -> None:
    nodes = [{"type": "data", "data": flattened({"messages": [{"id": "m"}]})}, {"type": "data", "data": flattened([])}]
    assert read_messages(json_reply({"type": "data", "nodes": nodes}), "data", response_error) == [{"id": "m"}]
    assert read_messages(json_reply({"type": "data", "nodes": nodes[1:]}), "data", response_error) is None


def test_what_is_no_object_is_no_reply() -> None:
    with pytest.raises(ProtocolError):
        read_object(json_reply([]))
    with pytest.raises(NotAStream, match="base URL"):
        read_object(Reply(Head(200, {"content-type": "text/html; charset=utf-8"}), b"<!doctype html>"))


def message(name: str, role: str, content: str, *ancestors: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "from": role, "content": content, "ancestors": list(ancestors), **more}


ROOT = message("root", "system", "")
ASKED = message("u1", "user", "Hi", "root")
ANSWERED = message("a1", "assistant", "Hello", "root", "u1", generationId="run-1")
NEXT = message("u2", "user", "And?", "root", "u1", "a1")
FAILED = message("a2", "assistant", "", "root", "u1", "a1", "u2", generationId="run-2")


@pytest.mark.parametrize("run", ["run-1", None])
@pytest.mark.parametrize(
    "after",
    [
        [],
        [NEXT],
        [NEXT, FAILED],
        [NEXT, {**FAILED, "content": "of somebody else, in the meantime"}],
        [message("a3", "assistant", "", "root", "u1")],
    ],
)
def test_the_next_message_answers_the_answer_that_was_given(run: str | None, after: list[dict[str, Any]]) -> None:
    place = Place("c1", "root", "v2", "org/text", run)
    assert find_leaf(place, [ROOT, ASKED, ANSWERED, *after]) == "a1"


def test_a_run_is_known_by_its_name() -> None:
    twin = message("a9", "assistant", "Good day", "root", "u9", generationId="run-9")
    messages = [ROOT, ASKED, ANSWERED, message("u9", "user", "Hi", "root"), twin]
    assert find_leaf(PLACE, messages) == "a1"
    assert find_leaf(Place("c1", "root", "v2", "org/text", "run-9"), messages) == "a9"


def test_a_file_is_an_answer_too() -> None:
    drawn = message("a1", "assistant", "", "root", "u1", updates=[{"type": "file"}])
    assert find_leaf(Place("c1", "root", "data", "org/text"), [ROOT, ASKED, drawn]) == "a1"


def test_a_new_conversation_has_its_first_message_only() -> None:
    assert find_leaf(Place("c1", "", "data", "org/text"), [ROOT]) == "root"


def test_after_a_failed_turn_the_next_goes_where_that_went() -> None:
    failed = message("a1", "assistant", "", "root", "u1")
    assert find_leaf(Place("c1", "root", "data", "org/text"), [ROOT, ASKED, failed]) == "root"
    assert find_leaf(Place("c1", "gone", "data", "org/text"), [ROOT, ASKED, ANSWERED, NEXT, FAILED]) == "a1"


def test_an_unknown_place_goes_on_from_the_newest_answer() -> None:
    assert find_leaf(Place("c1", "gone", "data", "org/text"), [ROOT, ASKED, ANSWERED]) == "a1"


@pytest.mark.parametrize("updates", [None, 5, [5], [{}]])
@pytest.mark.parametrize("ancestors", [None, 5, [], ["root"]])
def test_odd_messages_do_no_harm(updates: Any, ancestors: Any) -> None:
    odd = {"id": "a1", "from": "assistant", "ancestors": ancestors, "updates": updates}
    assert find_leaf(Place("c1", "root", "data", "org/text"), [ROOT, odd]) == "root"
