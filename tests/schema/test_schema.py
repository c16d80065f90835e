"""What an answer must be, in every form, and the value that is made of it."""

import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import perf_counter
from typing import Any, NotRequired, TypedDict

import attrs
import pytest
from pydantic import BaseModel

from fanout.answers import Answer
from fanout.errors import UsageError
from fanout.prompt import ToolUse
from fanout.schema import Invalid, Schema
from fanout.schema.caps import MOST_BYTES, MOST_LEVELS, MOST_PROPERTIES, check_caps
from fanout.schema.forms import read_file, read_given, read_short_form
from fanout.schema.validate import compile_schema

PERSON = "name: str, age: int"
GOOD = '{"name": "Ann", "age": 3}'


def judge(schema: Any, text: str, **form: Any) -> Any:
    made = Schema.of({"schema": schema, **form})  # type: ignore[typeddict-item]
    assert made
    return made.judge(Answer("a", text=text))


def why(schema: Any, text: str, **form: Any) -> Any:
    with pytest.raises(Invalid) as caught:
        judge(schema, text, **form)
    for path, words in caught.value.why:
        assert "\n" not in path + words
        assert len(words) <= 200
    return caught.value.why


@pytest.mark.parametrize(
    "around", ["{}", " \n{}\t", "\ufeff{}", "```json\n{}\n```", "```\n{}```", "\n````js\r\n{}\n````\n"]
)
def test_mark_space_and_one_fence_are_no_part_of_a_value(around: str) -> None:
    assert judge(PERSON, around.replace("{}", GOOD)) == {"name": "Ann", "age": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        (f"Sure! {GOOD}", "begins with 'Sure!"),
        (f"{GOOD} done", "text after the JSON value: 'done'"),
        ('{"name": "Ann", "age": 3, "age": 3}', "'age' stands twice"),
        ('{"name": "Ann", "age": NaN}', "NaN is no JSON value"),
        ('{"name": "Ann", "age": 1e999}', "too large"),
        ('{"name": "\\ud800", "age": 3}', "half a surrogate pair"),
        ('{"name": "Ann", "age": 3', "not JSON"),
        ('{"name": "Ann", "age": 9007199254740992}', "greater than the maximum"),
        (f'{{"name": "Ann", "age": {"9" * 5000}}}', "not JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_strict_json_is_refused_in_words(text: str, words: str) -> None:
    assert words in why(PERSON, text)[0][1]


def test_prose_is_repaired_on_demand_alone() -> None:
    text = f"I [think] it is {GOOD}, {{yes}}."
    assert judge(PERSON, text, repair="prose") == {"name": "Ann", "age": 3}
    assert why(PERSON, text)
    assert why(PERSON, "none at all", repair="prose")


class Row(TypedDict):
    name: str
    age: int
    note: NotRequired[str]


@attrs.frozen
class Record:
    name: str
    age: int = attrs.field(validator=attrs.validators.lt(100))
    friends: list["Record"] = attrs.field(factory=list)


class Model(BaseModel):
    name: str
    age: int


def test_classes_give_values_equal_to_a_dicts() -> None:
    plain = judge({"type": "object"}, GOOD)
    assert judge(Row, GOOD) == judge(PERSON, GOOD) == plain
    assert judge(Model, GOOD) == Model(**plain)
    assert judge(Record, GOOD) == Record(**plain)
    assert judge(Record, '{"name": "A", "age": 1, "friends": [{"name": "B", "age": 2}]}').friends == [Record("B", 2)]


@pytest.mark.parametrize("form", [PERSON, Row, Record, Model])
def test_mistakes_name_path_and_rule_in_one_line_each(form: Any) -> None:
    assert why(form, '{"name": "Ann", "age": "3"}') == (("/age", '"3" is not of type "integer"'),)
    assert why(form, '{"name": "Ann"}') == (("", '"age" is a required property'),)


def test_a_value_error_of_a_class_is_a_refusal() -> None:
    assert "must be < 100" in why(Record, '{"name": "Ann", "age": 300}')[0][1]


def test_the_short_form_is_llms_and_ours() -> None:
    assert read_short_form("name, age int, tags: list[str], bio: a word on them")["properties"] == {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "bio": {"type": "string", "description": "a word on them"},
    }
    for bad, words in (("", "is empty"), ("a thing", "no type"), ("a, a", "twice"), ("5 x y", "no field")):
        with pytest.raises(UsageError, match=words):
            read_short_form(bad)


def test_files_are_read_and_their_mistakes_named(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "object"}')
    assert read_given("s.json", tmp_path) == {"type": "object"}
    (tmp_path / "bad.json").write_text("[1")
    (tmp_path / "list.json").write_text("[1]")
    for name in ("bad.json", "list.json", "none.json"):
        with pytest.raises(UsageError, match=name):
            read_file(tmp_path / name)


def test_nothing_is_dialled_and_no_file_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"type": "integer"}')
    heard: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.3)

        def listen() -> None:
            with suppress(TimeoutError):
                heard.append(listener.accept())

        thread = Thread(target=listen)
        thread.start()
        port = listener.getsockname()[1]
        for ref in (f"http://127.0.0.1:{port}/s", f"file://{secret}", secret.name):
            for key in ("$ref", "$dynamicRef", "$schema"):
                with pytest.raises(UsageError) as caught:
                    compile_schema({"properties": {"a": {key: ref}}, key: ref})
                assert "\n" not in str(caught.value)
        thread.join()
    assert heard == []


def test_a_hostile_pattern_answers_at_once() -> None:
    began = perf_counter()
    assert why({"type": "string", "pattern": "^(a+)+$"}, f'"{"a" * 5000}b"')
    assert why({"type": "string", "pattern": "^(a+)+\\1$"}, f'"{"a" * 500}b"')
    assert perf_counter() - began < 2


DOUBLING = {"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]}
CHAIN = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (DOUBLING, '{"a":' * 150 + "1" + "}" * 150),
        ({"items": {"type": "integer"}}, "[" + ",".join(['"x"'] * 300_000) + "]"),
        ({"type": "array"}, "[" * 700 + "]" * 700),
        ({"enum": list(range(9000))}, '"x"'),
        ({"patternProperties": {f"a{i}$": {"type": "null"} for i in range(400)}}, '{"xa1": 1}'),
        ({"$ref": "#", "type": "string"}, "1"),
        ({"$dynamicRef": "#m", "$defs": {"d": {"$dynamicAnchor": "m", "type": "null"}}}, "1"),
    ],
)
def test_hostile_schemas_and_answers_are_bounded(schema: Any, text: str) -> None:
    began = perf_counter()
    assert why(schema, text)
    assert perf_counter() - began < 3


def test_a_schema_that_doubles_without_end_is_refused_and_a_cycle_is_not() -> None:
    with pytest.raises(UsageError, match="so many ways"):
        compile_schema({"$ref": "#/$defs/a0", "$defs": {**CHAIN, "a40": {"type": "integer"}}})
    assert judge({"$ref": "#"}, "1") == 1


def test_the_caps_of_a_schema_from_elsewhere_are_named() -> None:
    deep: Any = {}
    for _ in range(MOST_LEVELS):
        deep = {"items": deep}
    for schema, words in (
        ({"description": "x" * MOST_BYTES}, "64 KB"),
        (deep, f"{MOST_LEVELS} levels"),
        ({"properties": {str(i): {} for i in range(MOST_PROPERTIES + 1)}}, f"{MOST_PROPERTIES} properties"),
    ):
        with pytest.raises(UsageError, match=words):
            check_caps(schema)
    check_caps(deep["items"])


def test_tool_calls_are_judged_by_their_tools_on_demand() -> None:
    parameters = {"type": "object", "properties": {"n": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": "add", "parameters": parameters}}]
    strict = Schema.of({"schema": PERSON, "strict_tools": True})
    loose = Schema.of({"schema": PERSON})
    assert strict
    assert loose
    for call, path in ((ToolUse("1", "add", '{"n": "x"}'), "/add/n"), (ToolUse("1", "sub", "{}"), "/sub")):
        answer = Answer("a", tool_calls=(call,))
        assert loose.judge(answer, tools) is None
        with pytest.raises(Invalid) as caught:
            strict.judge(answer, tools)
        assert caught.value.why[0][0] == path
    assert strict.judge(Answer("a", tool_calls=(ToolUse("1", "add", '{"n": 1}'),)), tools) is None


def test_without_the_extra_one_line_names_the_command() -> None:
    code = (
        "import sys; sys.modules['jsonschema_rs'] = None\n"
        "import fanout\n"
        "try: fanout.Race('a/b', schema='name: str')\n"
        "except fanout.UsageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a schema needs jsonschema-rs and jiter: pip install 'fanout-llm[schema]'\n"


def test_a_partial_value_is_there_as_far_as_it_goes() -> None:
    assert Answer("a", text='```json\n{"a": [1, 2], "b": "x').partial_value == {"a": [1, 2], "b": "x"}
    assert Answer("a", text="Sure").partial_value is None
    assert Answer("a").partial_value is None
