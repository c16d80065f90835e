"""Early refusal refuses nothing that the whole validator would take, wherever a document is cut."""

import json
import os
from random import Random
from typing import Any

import pytest

from fanout.schema.prefixes import Prefix
from fanout.schema.validate import compile_schema

DOCUMENTS = int(os.environ.get("FANOUT_PREFIX_DOCUMENTS", "1500"))
"""Documents that are cut everywhere; the law was checked with 100,000."""

KEYS = ("a", "b", "cc", "name")
TEXTS = ("", "a", "ab", 'q"\\', "\u00e9", "\U0001f600", "x" * 9, "```")


def make_value(random: Random, depth: int = 0) -> Any:
    kind = random.randrange(8 if depth < 3 else 5)
    if kind < 5:
        return random.choice([None, True, False, random.randrange(-20, 200), random.uniform(-9, 9), *TEXTS])
    if kind < 6:
        return [make_value(random, depth + 1) for _ in range(random.randrange(4))]
    return {key: make_value(random, depth + 1) for key in random.sample(KEYS, random.randrange(len(KEYS) + 1))}


def make_schema(random: Random, value: Any, depth: int = 0) -> Any:
    """A schema that is often near to a value, and often not."""
    if random.random() < 0.12:
        value = make_value(random, depth)
    made: dict[str, Any] = {}
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null", int: "integer"}
    kind = names.get(type(value), "number")
    if random.random() < 0.6:
        made["type"] = random.choice(
            [kind, kind, kind, sorted({kind, "null"}), "number" if kind == "integer" else kind]
        )
    if isinstance(value, dict):
        inner = {key: make_schema(random, one, depth + 1) for key, one in value.items() if random.random() < 0.8}
        made["properties"] = inner
        extra: Any = random.choice([None, False, True, {"type": "string"}])
        if extra is not None:
            made["additionalProperties"] = extra
        if random.random() < 0.3:
            made["maxProperties"] = random.randrange(5)
        if random.random() < 0.2:
            made["patternProperties"] = {"^c": {}}
        if random.random() < 0.3:
            made["required"] = [random.choice(KEYS)]
    elif isinstance(value, list):
        if value and random.random() < 0.7:
            made["items"] = make_schema(random, random.choice(value), depth + 1)
        if random.random() < 0.3:
            made["maxItems"] = random.randrange(5)
        if value and random.random() < 0.2:
            made["prefixItems"] = [make_schema(random, value[0], depth + 1)]
    elif isinstance(value, str):
        made |= random.choice([{}, {"maxLength": 5}, {"minLength": 2}, {"pattern": "^a"}, {"enum": ["a", "ab", value]}])
    elif type(value) in (int, float):
        made |= random.choice([{}, {"maximum": 50}, {"minimum": 0}, {"multipleOf": 5}, {"const": value}])
    if random.random() < 0.1 and depth < 3:
        way = random.choice(["anyOf", "oneOf", "allOf"])
        made = {way: [made, make_schema(random, value, depth + 1)][: 1 if way == "allOf" else 2]}
    if random.random() < 0.05:
        made = {"$defs": {"d": made}, "$ref": "#/$defs/d"} if depth == 0 else made
    return made


def look(validator: Any, text: str, *, every: bool) -> Any:
    prefix = Prefix(validator.outlook)
    if every:
        prefix._pieces = 10**6  # so that it looks inside at once
    return prefix.look(text)


def test_nothing_is_refused_at_any_cut_that_the_validator_takes() -> None:
    random = Random(7)
    taken = refused = cuts = 0
    for _ in range(DOCUMENTS):
        value = make_value(random)
        validator = compile_schema(make_schema(random, value))
        text = json.dumps(value, ensure_ascii=random.random() < 0.5, indent=random.choice([None, 1]))
        if random.random() < 0.2:
            text = f"```json\n{text}\n```"
        valid = not validator.find_mistakes(value, len(text))
        taken += valid
        found = False
        for cut in range(1, len(text) + 1):
            cuts += 1
            if (mistake := look(validator, text[:cut], every=True)) is not None:
                found = True
                assert not valid, (validator.document, text[:cut], mistake)
        refused += found
    assert taken > DOCUMENTS / 5
    assert refused > DOCUMENTS / 20
    print(DOCUMENTS, "documents,", taken, "taken,", refused, "refused early,", cuts, "cuts")  # noqa: T201


@pytest.mark.parametrize(
    ("schema", "text", "path"),
    [
        ({"type": "object"}, "Sure! Here", ""),
        ({"type": "object"}, "[", ""),
        ({"type": "object"}, "```json\n[", ""),
        ({"properties": {"a": {"type": "integer"}}}, '{"a": "x", "b": 1', "/a"),
        ({"properties": {"a": {"enum": ["x"]}}}, '{"a": "y", "b": 1', "/a"),
        ({"properties": {"a": {"maximum": 3}}}, '{"a": 4, "b": 1', "/a"),
        ({"properties": {"a": {"pattern": "^(b+)+$"}}}, '{"a": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbc", "b": 1', "/a"),
        ({"properties": {"a": {}}, "additionalProperties": False}, '{"b": 1', ""),
        ({"maxItems": 1}, "[1, 2", ""),
        ({"items": {"$ref": "#/$defs/d"}, "$defs": {"d": {"type": "string"}}}, "[1, 2", "/0"),
        ({"anyOf": [{"type": "array"}, {"type": "null"}]}, "{", ""),
        ({}, '{"a": 1} Hope this helps', ""),
        ({}, "{a: 1}", ""),
    ],
)
def test_what_no_text_can_mend_is_refused(schema: Any, text: str, path: str) -> None:
    mistake = look(compile_schema(schema), text, every=True)
    assert mistake is not None
    assert mistake[0] == path


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "object"}, ""),
        ({"type": "object"}, " \n\ufeff"),
        ({"type": "object"}, "``"),
        ({"type": "object"}, "```js"),
        ({"required": ["a"], "minProperties": 3}, '{"b": 1'),
        ({"properties": {"a": {"enum": [12]}}}, '{"a": 1'),
        ({"properties": {"a": {"enum": ["xy"]}}}, '{"a": "x'),
        ({"type": "object", "properties": {"a": {"$ref": "other"}}} | {"$id": "x"}, '{"a": 1'),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/definitions/d", "type": "null",
          "definitions": {"d": {"type": "object"}}}, '{"a": 1'),
        ({"not": {"type": "object"}}, "[1"),
    ],
)  # fmt: skip
def test_what_may_still_become_valid_passes(schema: Any, text: str) -> None:
    try:
        validator = compile_schema(schema)
    except Exception:  # noqa: BLE001  # a reference to nothing
        return
    assert look(validator, text, every=True) is None
