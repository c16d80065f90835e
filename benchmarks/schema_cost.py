"""The cost of a schema: the validator, a look at a beginning, a partial value, and how soon a fallback goes on.

Times in microseconds are of the processor, the least of five runs. Those in milliseconds are of one fallback whose
first lane writes prose, a word every 50 ms, and whose second answers after 50 ms.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import trio

sys.path.insert(0, str(Path(__file__).parent.parent))

import fanout
from benchmarks.machine import arguments, circumstances, conclude, foot, table
from fanout.abc import Request
from fanout.answers import Answer
from fanout.credentials.secret import Secret
from fanout.events import Delta, Event
from fanout.providers.openai import OpenAI
from fanout.schema import Schema
from fanout.schema.prefixes import Prefix
from fanout.schema.validate import compile_schema
from fanout.transports.memory import MemoryTransport

ITEM = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "maximum": 200},
        "tags": {"type": "array", "items": {"type": "string"}},
        "kind": {"enum": ["a", "b"]},
        "place": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "number"}}},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
SCHEMA = {"type": "array", "items": ITEM}
ONE = {"name": "Ann Example", "age": 31, "tags": ["red", "green"], "kind": "a", "place": {"x": 1.5, "y": 2}}


def take_time(function: Any, times: int) -> float:
    """Returns the microseconds of processor time of one call, the least of five runs."""
    best = 1e9
    for _ in range(5):
        began = process_time()
        for _ in range(times):
            function()
        best = min(best, (process_time() - began) / times * 1e6)
    return round(best, 3)


def cut(text: str, size: int = 5) -> list[Event]:
    """Returns a text in pieces of `size` characters."""
    return [Delta(text[at : at + size]) for at in range(0, len(text), size)]


def look_while_it_streams(text: str) -> float:
    """Returns the microseconds a piece that the looks at one answer take, with the join of its text."""
    validator = compile_schema(SCHEMA)
    pieces = [piece.text for piece in cut(text) if isinstance(piece, Delta)]

    def run() -> None:
        prefix = Prefix(validator.outlook)
        come: list[str] = []
        for piece in pieces:
            come.append(piece)
            prefix.left -= 1
            if prefix.left <= 0:
                answer = Answer("a", text="".join(come))
                assert prefix.look(answer.text) is None

    return round(take_time(run, 3) / len(pieces), 3)


def chunk(text: str) -> bytes:
    """Returns one event of Chat Completions."""
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


async def measure_fallback() -> dict[str, float]:
    """Returns the milliseconds from the first letter of prose to the next lane's request, and to the valid answer."""
    seen: dict[str, float] = {}
    prose: list[Any] = [
        0.05,
        chunk("Sure! "),
        *[step for _ in range(40) for step in (0.05, chunk("word "))],
        b"data: [DONE]\n\n",
    ]
    good: list[Any] = [0.05, chunk(json.dumps(ONE)), b"data: [DONE]\n\n"]

    def script(request: Request) -> Any:
        lane = "good" if "good" in request.url else "prose"
        seen[lane] = perf_counter()
        return good if lane == "good" else prose

    lanes = [OpenAI(model="m", base_url=f"http://{name}.test/v1", key=Secret("k")) for name in ("prose", "good")]
    answer = await fanout.race("?", fanout.Fallback(*lanes), schema=ITEM, transport=MemoryTransport(script))
    assert answer.value == ONE
    ended = perf_counter()
    first = seen["prose"] + 0.05
    return {
        "next_lane_after_first_letter_ms": round((seen["good"] - first) * 1e3, 2),
        "valid_answer_after_first_letter_ms": round((ended - first) * 1e3, 2),
        "whole_prose_would_have_taken_ms": 40 * 50.0,
    }


def measure() -> dict[str, Any]:
    """Returns all figures, times in microseconds of processor time unless their names say otherwise."""
    text = json.dumps([ONE] * 50)
    one = json.dumps(ONE)
    schema = Schema.of({"schema": ITEM})
    assert schema
    answer, half = Answer("a", text=one), Answer("a", text=text[:-40])
    validator = compile_schema(ITEM)
    return {
        "compile_from_cache_us": take_time(lambda: compile_schema(ITEM), 1000),
        "validate_us": take_time(lambda: validator.find_mistakes(ONE, len(one)), 5000),
        "judge_whole_answer_us": take_time(lambda: schema.judge(answer), 2000),
        "partial_value_of_6_kb_us": take_time(lambda: half.partial_value, 200),
        "early_a_piece_of_6_kb_us": look_while_it_streams(text),
        "early_a_piece_of_600_kb_us": look_while_it_streams(json.dumps([ONE] * 5000)),
        **trio.run(measure_fallback),
    }


SAYS = {
    "compile_from_cache_us": "a schema that is compiled already, µs",
    "validate_us": "to validate an answer of 120 bytes, µs",
    "judge_whole_answer_us": "to parse and validate it, µs",
    "partial_value_of_6_kb_us": "the value so far of 6 KB, µs",
    "early_a_piece_of_6_kb_us": "the looks at a beginning, a piece of 6 KB, µs",
    "early_a_piece_of_600_kb_us": "the same of 600 KB, µs",
    "next_lane_after_first_letter_ms": "the next lane's request after the first letter of prose, ms",
    "valid_answer_after_first_letter_ms": "its valid answer, ms",
    "whole_prose_would_have_taken_ms": "the whole prose, ms",
}


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the table, and below it the machine."""
    yield from table(("a schema, and what it saves", ""), ((SAYS[name], v) for name, v in results["medians"].items()))
    yield ""
    yield from foot(results)


def main(given: Sequence[str] | None = None) -> None:
    """Measures, prints, and writes the results down."""
    options = arguments("schema_cost", __doc__).parse_args(given)
    about = circumstances(["fanout", "jsonschema-rs", "jiter"], 5)
    results = {**about, "failed": {}, "medians": measure()}
    conclude(options.json, results, report(results))


if __name__ == "__main__":
    main()
