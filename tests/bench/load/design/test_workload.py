"""Workloads: the prompts that are sent."""

import re
from pathlib import Path

import pytest

from fanout.bench.load.design.workload import BUILT_IN, Workload, load_prompts, load_trace, mark_unique
from fanout.errors import UsageError
from fanout.prompt import Prompt


def texts(workload: Workload) -> list[str]:
    return [item.prompt.messages[-1].text for item in workload.items]


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_set_has_a_score_of_different_prompts(name: str) -> None:
    asked = texts(load_prompts(f"builtin:{name}"))
    assert len(asked) == len(set(asked)) >= 20
    assert all(10 <= len(text) <= 200 for text in asked)


def test_prompts_are_asked_in_turn_and_then_again() -> None:
    workload = load_prompts("-", read_stdin=lambda: b"one\ntwo\n\nthree\n")
    assert [workload.item(i).prompt.messages[0].text for i in range(4)] == ["one", "two", "three", "one"]


def test_a_system_prompt_stands_before_each() -> None:
    item = load_prompts("builtin:short", system="Be brief.").items[0]
    assert [message.role for message in item.prompt.messages] == ["system", "user"]


def test_json_lines_hold_texts_or_messages_and_bounds(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(
        '\ufeff{"prompt": "one\u2028two", "max_tokens": 7}\n\n'
        '{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "two"}]}\n'
        '{"Question": "three", "output_length": 9}\n',
        encoding="utf-8",
    )
    workload = load_prompts(str(file))
    assert texts(workload) == ["one\u2028two", "two", "three"]
    assert [item.max_tokens for item in workload.items] == [7, None, 9]
    assert len(workload.items[1].prompt.messages) == 2


def test_csv_may_hold_line_breaks(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text('id,Prompt,max_tokens\n1,"one\nline, two",5\n2,three,\n')
    workload = load_prompts(str(file))
    assert texts(workload) == ["one\nline, two", "three"]
    assert [item.max_tokens for item in workload.items] == [5, None]


def test_synthetic_prompts_have_about_the_length_and_are_the_same_for_a_seed() -> None:
    workload = load_prompts("synthetic:500,40", seed=3)
    assert all(480 <= len(text.split()) <= 520 for text in texts(workload))
    assert {item.max_tokens for item in workload.items} == {40}
    assert len(set(texts(workload))) == len(workload.items)
    assert load_prompts("synthetic:500,40", seed=3).fingerprint == workload.fingerprint
    assert load_prompts("synthetic:500,40", seed=4).fingerprint != workload.fingerprint


def test_a_text_may_begin_with_a_bracket() -> None:
    assert texts(load_prompts("-", read_stdin=lambda: b"[1, 2] is a list?\nWhy?")) == ["[1, 2] is a list?", "Why?"]


def test_a_mark_makes_each_request_unique_at_its_beginning_and_of_one_length() -> None:
    prompt = Prompt.of("Why?", "Be brief.")
    marked = [mark_unique(prompt, f"run:{i}").messages for i in range(500)]
    assert len({messages[0].text for messages in marked}) == 500
    assert {len(messages[0].text) for messages in marked} == {len("[123 456 789 012] Be brief.")}
    assert all(re.match(r"\[\d{3} \d{3} \d{3} \d{3}\] Be brief\.$", messages[0].text) for messages in marked)
    assert all(messages[1].text == "Why?" for messages in marked)


def test_a_trace_gives_times_and_lengths(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(
        '{"timestamp": 3500, "input_length": 100, "output_length": 5}\n'
        '{"timestamp": 1000, "prompt": "own"}\n{"timestamp": 9000, "output_length": 6}\n'
    )
    workload = load_trace(str(file), usual=load_prompts("-", read_stdin=lambda: b"a\nb\nc"))
    assert workload.at == [0, 2.5, 8]
    own, made, usual = texts(workload)
    assert (own, usual) == ("own", "c")
    assert 90 <= len(made.split()) <= 110
    assert [item.max_tokens for item in workload.items] == [None, 5, 6]


def test_a_trace_may_have_dates(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,20,3\n2023-11-16 18:17:05.4799600,30,4\n"
    )
    workload = load_trace(str(file), usual=load_prompts("builtin:short"))
    assert workload.at == pytest.approx([0, 1.5])
    assert [item.max_tokens for item in workload.items] == [3, 4]


@pytest.mark.parametrize(
    ("source", "content", "words"),
    [
        ("builtin:long", None, "short, code, reasoning"),
        ("synthetic:500", None, "synthetic:500,100"),
        ("synthetic:0,5", None, "synthetic:500,100"),
        ("nowhere.txt", None, "cannot read nowhere.txt: No such file"),
        ("FILE", "", "no prompt"),
        ("FILE", "\xff", "not text in UTF-8"),
        ("FILE", '{"prompt": "a"}\n{"prompt": ', "line 2 is not JSON"),
        ("FILE", '{"prompt": "a"}\n[1]', "line 2: a line is an object"),
        ("FILE", '{"prompt": "a"}\n{"prom": "b"}', "prompt 2 has neither prompt, text.*but prom"),
        ("FILE", '{"prompt": "a", "max_tokens": "many"}', "prompt 1: a number of tokens .* 'many'"),
        ("synthetic:2000001,5", None, "at most 2000000 tokens"),
        ("FILE", '{"messages": [{"role": "user", "content": 5}]}', "prompt 1: "),
        ("FILE", '[{"prompt": "a"}]', "is a JSON array; write an object a line.*jq -c"),
        ("FILE", ' [\n  "a"\n]\n', "is a JSON array"),
        (
            "FILE",
            '{"prompt": "a", "max_tokens": 3000000000}',
            "prompt 1: a number of tokens .* 2000000, not 3000000000",
        ),
        ("FILE", '{"messages": [7]}', "prompt 1: a message is a dict"),
        ("FILE.csv", 'prompt\n"' + "x" * 2_000_001 + '"', "is not CSV: field larger"),
        ("FILE", '{"messages": [{"role": "robot", "content": "x"}]}', "prompt 1: a message needs a role"),
    ],
)
def test_bad_input_is_named_with_its_place(tmp_path: Path, source: str, content: str | None, words: str) -> None:
    if content is not None:
        source = str(tmp_path / source.lower())
        Path(source).write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=words) as raised:
        load_prompts(source)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no request"),
        ('{"input_length": 5}', "request 1 needs a timestamp"),
        ('{"timestamp": 5, "input_length": 3000000000}', "request 1: a number of tokens .* 2000000, not 3000000000"),
        ('[{"timestamp": 5}]', "is a JSON array"),
        ("at\nsoon\n", "not 'soon'"),
        ("at\nnan\n", "not 'nan'"),
    ],
)
def test_a_trace_without_times_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "t").write_text(content)
    with pytest.raises(UsageError, match=words):
        load_trace(str(tmp_path / "t"), usual=load_prompts("builtin:short"))
