"""Structured output: what an answer must be, and the value that is made of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypedDict, get_args

from attrs import field, frozen

from fanout.errors import UsageError
from fanout.schema import text as texts
from fanout.schema.forms import Load, read_form
from fanout.schema.prefixes import Prefix
from fanout.schema.validate import MOST_MISTAKES, Mistake, Validator, compile_schema

Repair = Literal["prose"]

FARTHEST = 1000
"""The distance of what is no JSON at all; of JSON that does not fit it is the number of its mistakes."""


class Invalid(Exception):
    """The answer does not fit: `why` are its mistakes, and `distance` says how far it is from an answer that does."""

    def __init__(self, why: Sequence[Mistake], distance: int | None = None) -> None:
        super().__init__(tell(why))
        self.why = tuple(why)
        self.distance = len(why) if distance is None else distance


class Form(TypedDict, total=False):
    """The form of an answer, as policies take it: `schema`, and how answers are judged by it.

    `schema` is a JSON schema as a dict, a class of pydantic's, a TypedDict, an attrs class or dataclass, llm's short
    form (`name: str, age: int`), or a Schema. `repair="prose"` takes the first whole JSON value in an answer's text.
    `early=False` waits for each answer's end, also where its beginning cannot be mended. `reask=1` asks the lane that
    came nearest once more, with its mistakes, when no other lane is left. `strict_tools=True` judges the arguments of
    tool calls by the tools' own schemas.
    """

    schema: Any
    repair: Repair | None
    early: bool
    reask: int
    strict_tools: bool


class Said(Protocol):
    """The part of an answer that is judged."""

    @property
    def text(self) -> str:
        """Its text."""
        ...

    @property
    def refusal(self) -> str:
        """The model's own refusal."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """The reason for its end."""
        ...

    @property
    def tool_calls(self) -> Sequence[Any]:
        """Its tool calls, each with a name and arguments."""
        ...


@frozen
class Schema:
    """A schema, compiled: `document` is JSON schema, `load` makes the caller's value. The rest is as in Form."""

    document: Any
    load: Load = field(repr=False)
    repair: Repair | None = None
    early: bool = True
    reask: int = 0
    strict_tools: bool = False
    validator: Validator = field(init=False, repr=False, eq=False)

    @validator.default
    def _compile(self) -> Validator:
        return compile_schema(self.document)

    @classmethod
    def of(cls, form: Form) -> "Schema | None":
        """Returns what a form says; None if it has no schema. Raises UsageError."""
        given = form.get("schema")
        rest = {name: value for name, value in form.items() if name != "schema"}
        if given is None:
            if set_ones := [name for name, value in rest.items() if value not in (None, False, 0) and name != "early"]:
                raise UsageError(f"{' and '.join(set_ones)} needs a schema: schema='name: str, age: int'")
            return None
        _check(form)
        if isinstance(given, Schema):
            return given
        return cls(*read_form(given), **rest)  # type: ignore[arg-type]  # checked above

    def judge(self, said: Said, tools: Sequence[Mapping[str, Any]] = ()) -> Any:
        """Returns the value of an answer to a prompt with these tools. Raises Invalid, and what `load` raises.

        An answer that calls tools is no last word: its text is not judged, and its value is None.
        """
        if tools and said.tool_calls:
            if self.strict_tools:
                check_calls(said.tool_calls, tools)
            return None
        if said.finish_reason == "length":
            raise Invalid([("", "it was cut off by max_tokens")], 2 * FARTHEST)
        if said.refusal and not said.text:
            raise Invalid([("", f"the model refused: {texts.cut_line(said.refusal, 120)}")], 2 * FARTHEST)
        text, value = self._read(said.text)
        if why := self.validator.find_mistakes(value, len(text)):
            raise Invalid(why)
        try:
            return self.load(value, text)
        except ValueError as error:
            raise Invalid(_find_words(error)) from error

    def _read(self, text: str) -> tuple[str, Any]:
        stripped = texts.strip(text)
        try:
            try:
                return stripped, texts.read(stripped)
            except texts.NotJson:
                if self.repair is None:
                    raise
            return texts.find(text, self.validator.outlook.starts())
        except texts.NotJson as error:
            raise Invalid([("", str(error))], FARTHEST) from None

    def watch(self) -> Prefix | None:
        """Returns what judges the beginning of one answer; None where any beginning may still turn out well."""
        return Prefix(self.validator.outlook) if self.early and self.repair is None else None


def check_calls(calls: Sequence[Any], tools: Sequence[Mapping[str, Any]]) -> None:
    """Judges the arguments of tool calls by the tools' own schemas. Raises Invalid, and UsageError for a bad schema."""
    functions = [tool["function"] for tool in tools if isinstance(tool.get("function"), Mapping)]
    schemas = {one.get("name"): one.get("parameters") for one in functions}
    why: list[Mistake] = []
    for call in calls:
        place = f"/{texts.cut_line(call.name, 40)}"
        if call.name not in schemas:
            why.append((place, "there is no tool of this name"))
            continue
        try:
            value = texts.read(texts.strip(call.arguments or "{}"))
        except texts.NotJson as error:
            why.append((place, str(error)))
            continue
        if (schema := schemas[call.name]) is not None:
            found = compile_schema(schema).find_mistakes(value, len(call.arguments))
            why += [(f"{place}{path}", words) for path, words in found]
    if why:
        raise Invalid(why[:MOST_MISTAKES])


def tell(why: Sequence[Mistake]) -> str:
    """Returns mistakes as one line, each with its path."""
    return "; ".join(f"{path}: {words}" if path else words for path, words in why)


def _check(form: Form) -> None:
    """Raises UsageError for a part of a form that is of another kind."""
    if (repair := form.get("repair")) not in (None, *get_args(Repair)):
        raise UsageError(f"repair must be 'prose', or None for none, not {repair!r:.40}")
    reask = form.get("reask", 0)
    if isinstance(reask, bool) or reask not in (0, 1):
        raise UsageError(f"reask must be 0 or 1, not {reask!r:.40}")
    for name in ("early", "strict_tools"):
        if not isinstance(value := form.get(name, False), bool):
            raise UsageError(f"{name} must be True or False, not {value!r:.40}")


def _find_words(error: ValueError) -> list[Mistake]:
    """The mistakes that a class's own validation found; pydantic's error lists them with their places."""
    listed = getattr(error, "errors", None)
    try:
        rows = listed() if callable(listed) else []
        found = [("".join(f"/{part}" for part in row["loc"]), texts.cut_line(str(row["msg"]))) for row in rows]
    except (TypeError, KeyError, ValueError):
        found = []
    return found[:MOST_MISTAKES] or [("", texts.cut_line(str(error) or type(error).__name__))]
