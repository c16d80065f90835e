import pytest

import fanout
from fanout.events import Status
from fanout.prompt import Message, Options, Prompt
from fanout.providers.responses import Responses
from tests.local.conftest import model  # noqa: F401  # a fixture
from tests.providers.wires.responses import CONVERSATION, MEDIA, OPTIONS, TOOL, body, request


def test_organization_and_project_are_headers() -> None:
    headers = request("Hi", organization="org-1", project="proj-1").plain_headers()
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj-1")


def test_a_conversation_becomes_instructions_and_items() -> None:
    made = body(CONVERSATION)
    assert made["instructions"] == "Be brief.\n\nBe kind."
    assert made["input"] == [
        {"role": "user", "content": "1+1?"},
        {"role": "developer", "content": "In German."},
        {"role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "2"},
        {"type": "function_call", "call_id": "call_2", "name": "add", "arguments": "{}"},
        {"type": "function_call", "call_id": "call_3", "name": "add", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "call_2",
            "output": [{"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,eA=="}],
        },
        {"type": "function_call_output", "call_id": "call_3", "output": "4"},
        {"role": "user", "content": "Thanks"},
    ]


def test_a_system_message_alone_is_the_input() -> None:
    made = body(Prompt((Message("system", "s"),)))
    assert (made["input"], "instructions" in made) == ([{"role": "system", "content": "s"}], False)


def test_media_are_parts_of_the_message() -> None:
    assert body(MEDIA)["input"][0]["content"] == [
        {"type": "input_text", "text": "Look"},
        {"type": "input_image", "detail": "auto", "image_url": "https://example.com/a.png"},
        {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw=="},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
        {"type": "input_file", "filename": "file.csv", "file_data": "data:text/csv;base64,YSxi"},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "SUQz", "format": "mp3"}},
    ]


def test_the_options_have_their_names_of_this_protocol() -> None:
    made = body("Hi", OPTIONS, summary="auto")
    assert {name: made[name] for name in made if name not in ("model", "input", "stream", "store")} == {
        "max_output_tokens": 500,
        "temperature": 0.0,
        "top_p": 0.5,
        "reasoning": {"effort": "low", "summary": "auto"},
        "tools": [{"type": "function", "strict": False, **TOOL["function"]}],  # type: ignore[dict-item]
        "tool_choice": {"type": "function", "name": "add"},
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}},
        "include": ["reasoning.encrypted_content"],
    }


def test_a_summary_can_be_asked_for_alone() -> None:
    assert body("Hi", summary="concise")["reasoning"] == {"summary": "concise"}


def test_a_tool_in_this_wires_own_form_is_left_alone() -> None:
    made = body("Hi", Options(tools=({"type": "web_search"}, {"type": "function", "function": {"name": "f"}})))
    function = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}
    assert made["tools"] == [{"type": "web_search"}, function]
    assert body("Hi", Options(tool_choice="required"))["tool_choice"] == "required"
    assert body("Hi", Options(tool_choice={"type": "web_search"}))["tool_choice"] == {"type": "web_search"}


def test_the_body_of_the_options_comes_last() -> None:
    made = body("Hi", Options(temperature=1.0, body={"temperature": 0.3, "store": False}))
    assert (made["temperature"], made["store"]) == (0.3, False)


@pytest.mark.slow
@pytest.mark.usefixtures("model")
async def test_the_embedded_model_answers_on_this_wire() -> None:
    """llama.cpp: no output_index, and an answer that was cut for its length is called completed."""
    lane = Responses("smollm2", base_url="local://smollm2/v1", needs_key=False)
    options = Options(max_tokens=8, temperature=0.0, tools=(TOOL,))
    prompt = Prompt.of("Why is the sky blue?", system="Be brief.").with_options(options)
    answer = await fanout.race(prompt, [lane], timeouts=fanout.Timeouts(first=60))
    assert (answer.status, answer.model) == (Status.FINISHED, "local")
    assert answer.text
    assert answer.usage and answer.usage.output == 8
