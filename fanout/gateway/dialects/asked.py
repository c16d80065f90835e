"""The request of a client, whatever its dialect: what is asked, of whom, and in which form the answer goes back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import orjson
from attrs import field, fields_dict, frozen

from fanout.errors import UsageError
from fanout.prompt import Media, Message, Options, Prompt
from fanout.schema.caps import check_caps
from fanout.settings import check_settings, explain_unknown
from fanout.wire.json_text import show

SILENT = ("metadata", "user", "safety_identifier", "service_tier", "prompt_cache_key", "prompt_cache_retention")
"""Fields that change nothing of an answer: every dialect takes them, and leaves them where they are."""

DEEPEST = 200
"""Levels of objects and lists in a body: what walks through them, here and at services, goes as deep."""

_NUMBERS = int | float
T = TypeVar("T")


@frozen
class Fusion:
    """A fusion as a client describes it: whose answers, who writes one from them (None: the model), and how."""

    models: tuple[str, ...]
    judge: str | None = None
    criteria: str | None = None


@frozen
class Asked:
    """One request. `wire` is the dialect's name, which the providers of the same wire have too.

    `model` and the spare `models` name lanes, groups or expressions; `fastest` says that a comma list is a race.
    `own` holds the fields that only services of the same wire can be asked with, by name; of these, `advice` may
    be left out elsewhere, and any other makes a lane of another wire fail. `betas` are the features that clients of
    Anthropic's switch on, `given` is the request as it came. `counted` asks Chat Completions for counts in a stream.
    """

    wire: str
    model: str
    prompt: Prompt
    stream: bool = False
    models: tuple[str, ...] = ()
    fastest: bool = False
    counted: bool = False
    own: Mapping[str, Any] = field(factory=dict, repr=False)
    advice: frozenset[str] = frozenset()
    betas: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(factory=dict, repr=False)
    fusion: Fusion | None = None

    @property
    def answers_call(self) -> str | None:
        """The id of the tool call whose result the prompt ends with, if it does."""
        last = self.prompt.messages[-1]
        return last.tool_call_id if last.role == "tool" else None


class Fields:
    """The fields of a request, each taken once and checked. Raises UsageError with the name of what is wrong."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._left = {name: value for name, value in body.items() if value is not None}
        self._known: list[str] = []

    def take(self, name: str, kind: Any, what: str) -> Any:
        """Returns the value of a field, or None. `what` says in the error what it should be."""
        self._known.append(name)
        value = self._left.pop(name, None)
        wrong = not isinstance(value, kind) or (isinstance(value, bool) and kind not in (bool, object))
        if value is not None and wrong:
            raise UsageError(f"{name} must be {what}, not {show(value)}")
        return value

    def text(self, name: str) -> str | None:
        """Returns a field that is a text."""
        value: str | None = self.take(name, str, "a string")
        return value

    def whole(self, name: str) -> int | None:
        """Returns a field that is a whole number."""
        value: int | None = self.take(name, int, "a whole number")
        return value

    def number(self, name: str) -> float | None:
        """Returns a field that is a number."""
        value: float | None = self.take(name, _NUMBERS, "a number")
        return value

    def switch(self, name: str) -> bool:
        """Returns a field that is true or false; one that is not there is false."""
        return bool(self.take(name, bool, "true or false"))

    def table(self, name: str) -> Mapping[str, Any]:
        """Returns a field that is an object; an empty one where it is not there."""
        return self.take(name, dict, "an object") or {}

    def rows(self, name: str) -> list[Any]:
        """Returns a field that is a list; an empty one where it is not there."""
        return self.take(name, list, "a list") or []

    def texts(self, name: str) -> tuple[str, ...]:
        """Returns a field that is a text or a list of them."""
        value = self.take(name, str | list, "a string or a list of strings")
        found = [value] if isinstance(value, str) else value or []
        if not all(isinstance(text, str) for text in found):
            raise UsageError(f"{name} must be a string or a list of strings")
        return tuple(found)

    def own(self, names: Iterable[str]) -> dict[str, Any]:
        """Takes fields as they are; those that ask for nothing are left out."""
        found = {name: self.take(name, object, "") for name in names}
        return {name: value for name, value in found.items() if value not in (None, 0, False, {}, [])}

    def leave(self, names: Iterable[str]) -> None:
        """Takes fields that nothing is done with."""
        for name in names:
            self._left.pop(name, None)

    def refuse(self, names: Mapping[str, Sequence[Any]]) -> None:
        """Raises UsageError for fields that can have no effect here, unless they have one of the values named."""
        for name, harmless in names.items():
            value = self.take(name, object, "")
            if value is not None and value not in harmless:
                raise UsageError(f"{name} is not supported by this gateway; leave it out")

    def check_all_taken(self) -> None:
        """Raises UsageError for the first field that nobody took."""
        for name in self._left:
            known = [*self._known, *SILENT]
            raise UsageError(explain_unknown("field", name, known, "leave it out"))


def read_json(body: bytes) -> Mapping[str, Any]:
    """Returns the object in a request's body. Raises UsageError."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"the body is not JSON: {str(error).partition(':')[0]}") from None
    if not isinstance(value, dict):
        raise UsageError("the body must be a JSON object")
    if _is_deeper(value, DEEPEST):
        raise UsageError(f"the body is nested deeper than {DEEPEST} levels")
    return value


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        inner = [child for one in level for child in (one.values() if type(one) is dict else one)]
        level = [child for child in inner if type(child) in (dict, list)]
        if not level:
            return False
    return True


def read_model(fields: Fields) -> str:
    """Returns the name of the model that is asked for. Raises UsageError without one."""
    model = fields.text("model")
    if not model:
        raise UsageError("model is missing: name a lane, a group of fanout.toml, or an expression such as race:a,b")
    return model


def read_fusion(fields: Fields) -> Fusion | None:
    """Returns the fusion that a client asks for, as OpenRouter's clients write it or as LiteLLM's, if it does.

    Bounds of tools and tokens for the models of OpenRouter's have nothing to bound here. Raises UsageError, which names
    the field.
    """
    plugins = fields.rows("plugins")
    given = fields.take("fusion", dict, "an object")
    if given is not None:
        judge = optional(dict, _known(given, "fusion", ("models", "judge")), "judge", "an object", "fusion.") or {}
        _known(judge, "fusion.judge", ("model", "criteria"))
        writer, criteria = (optional(str, judge, name, "a string", "fusion.judge.") for name in ("model", "criteria"))
        return Fusion(_read_names(given, "models", "fusion."), writer, criteria)
    if not plugins:
        return None
    if len(plugins) > 1 or not isinstance(plugins[0], dict) or plugins[0].get("id") != "fusion":
        raise UsageError("plugins: there is only fusion here; leave others out")
    writer = optional(str, plugins[0], "model", "a string", "plugins[0].")
    return Fusion(_read_names(plugins[0], "analysis_models", "plugins[0]."), writer)


def _known(row: Mapping[str, Any], where: str, names: Sequence[str]) -> Mapping[str, Any]:
    for name in row:
        if name not in names:
            raise UsageError(f"{where} takes {' and '.join(names)}; leave {show(name)} out")
    return row


def _read_names(row: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    found = row.get(name)
    if not isinstance(found, list) or not found or not all(isinstance(one, str) and one for one in found):
        raise UsageError(f"{where}{name} must be a list of names, not {show(found)}")
    return tuple(found)


def make_options(**given: Any) -> Options:
    """Returns options of what was given. Raises UsageError for a value out of its range."""
    names = fields_dict(Options)
    options = Options(**{name: value for name, value in given.items() if value is not None and name in names})
    check_settings(options)
    if options.schema:
        check_caps(options.schema)
    return options


def make_prompt(messages: Sequence[Message], options: Options) -> Prompt:
    """Returns the prompt. Raises UsageError where it is empty, or where a picture would be fetched by its path."""
    for message in messages:
        for media in message.media:
            check_address(media)
        for use in message.tool_uses:
            _check_depth(use.arguments)
        if message.opaque is not None and _is_deeper(message.opaque, DEEPEST):
            raise UsageError(f"what is opaque in a message is nested deeper than {DEEPEST} levels")
    return Prompt.of(Prompt(tuple(messages), options))


def _check_depth(arguments: str) -> None:
    """Raises UsageError for the arguments of a call that are JSON nested too deep: they are read, here and there."""
    if arguments.count("[") + arguments.count("{") <= DEEPEST:
        return
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError as error:
        if "depth" not in str(error):
            return  # no JSON, which goes on as it is
        value = None
    if value is None or _is_deeper([value], DEEPEST):
        raise UsageError(f"the arguments of a tool call are nested deeper than {DEEPEST} levels")


def check_address(media: Media) -> None:
    """Raises UsageError for an address that is none of the web: a service might read it as a path of its own."""
    if media.data is None and not (media.url or "").startswith(("https://", "http://")):
        raise UsageError(f"a picture or file needs an https address or a data: URI, not {show(media.url, 40)}")


def optional_text(row: Mapping[str, Any], name: str) -> str | None:
    """Returns a field of an object that is a text or absent. Raises UsageError with its name for anything else."""
    return optional(str, row, name, "a string")


def optional_switch(row: Mapping[str, Any], name: str) -> bool:
    """Returns a field of an object that is true, false or absent. Raises UsageError with its name otherwise."""
    return bool(optional(bool, row, name, "true or false"))


def optional(kind: type[T], row: Mapping[str, Any], name: str, what: str, where: str = "") -> T | None:
    """Returns a field of an object, None where it is absent. Raises UsageError if it is not `what` it should be.

    `where` stands before the name in what is said.
    """
    value = row.get(name)
    return None if value is None else need(kind, value, f"{where}{name} must be {what}")


def need(kind: type[T], value: Any, what: str) -> T:
    """Returns the value. Raises UsageError, which says what it should be, if it is of another kind."""
    if not isinstance(value, kind):
        raise UsageError(f"{what}, not {show(value)}")
    return value
