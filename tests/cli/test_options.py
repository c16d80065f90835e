import io
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path

import click
import pytest

from fanout import catalog
from fanout.catalog.spec import add_options
from fanout.cli.names import complete_lane
from fanout.cli.options import Choices, delay, known_names, seconds, split_lanes, without
from fanout.cli.race import race
from fanout.errors import UsageError
from fanout.prompt import Media


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def pipe(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    pipe("")
    return pipe


def asked(choices: Choices) -> str:
    return choices.prompt().messages[-1].text


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.8", 0.8), ("0.8s", 0.8), ("800ms", 0.8), ("2m", 120.0), (".5", 0.5), ("0", 0.0), ("3.", 3.0)],
)
def test_a_time_has_several_forms(text: str, value: float) -> None:
    assert delay(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "soon", "-1", "1h", "nan", "1e3", "٣"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time"):
        delay(text)


def test_a_clock_can_be_off_but_not_zero() -> None:
    assert seconds("off") == inf
    with pytest.raises(click.BadParameter, match="off"):
        seconds("0")


@pytest.mark.parametrize(
    ("text", "lanes"),
    [
        ("a/x", ["a/x"]),
        ("a/x,b/y", ["a/x", "b/y"]),
        ("local, fast ,b:y", ["local", "fast", "b:y"]),
        ("a/x?stop=1,2,3", ["a/x?stop=1,2,3"]),
        ("a/x?stop=1,2,b/y,c", ["a/x?stop=1,2", "b/y", "c"]),
        ("a/x?temperature=0,n=b/y?seed=1", ["a/x?temperature=0", "n=b/y?seed=1"]),
        ("a/x?base_url=http://127.0.0.1:8000/v1,b/y", ["a/x?base_url=http://127.0.0.1:8000/v1", "b/y"]),
        (",a/x,,", ["a/x"]),
    ],
)
def test_commas_separate_lanes_but_not_values(text: str, lanes: list[str]) -> None:
    assert split_lanes(text) == lanes


@pytest.mark.parametrize(
    ("text", "lanes"),
    [
        ("a/x?base_url=http://127.0.0.1/v1,local", ["a/x?base_url=http://127.0.0.1/v1", "local"]),
        ("a/x?stop=1,2,fast", ["a/x?stop=1,2", "fast"]),
        ("a/x?stop=1, b=fast?seed=1,quick", ["a/x?stop=1", "b=fast?seed=1", "quick"]),
        ("a/x?stop=1,faster", ["a/x?stop=1,faster"]),
    ],
)
def test_after_options_a_comma_opens_a_lane_where_the_name_of_one_follows(text: str, lanes: list[str]) -> None:
    assert split_lanes(text, ("local", "fast", "quick")) == lanes


def test_the_known_names_are_those_of_the_configuration_and_of_providers_that_need_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fanout.toml").write_text('[lanes.fast]\nspec = "local"\n[groups.g]\npolicy = "race"\nlanes = ["fast"]')
    monkeypatch.chdir(tmp_path)
    assert {"fast", "g", "local"} <= known_names()
    assert "openai" not in known_names()


def test_options_for_all_lanes_give_way_to_a_lane_s_own() -> None:
    options = (("temperature", "0"), ("stop", "a&b c"))
    assert add_options("a/x", options) == "a/x?temperature=0&stop=a%26b%20c"
    assert add_options("a/x?temperature=1", options) == "a/x?temperature=1&stop=a%26b%20c"
    assert add_options("a/x", ()) == "a/x"


def test_options_for_all_lanes_reach_the_catalog() -> None:
    (spec,) = Choices(lanes=("groq/x",), options=(("temperature", "0"), ("stop", "a&b c"))).specs()
    assert catalog.find(spec).options.temperature == 0
    assert catalog.find(spec).options.stop == ("a&b c",)


def test_without_lanes_there_are_those_of_the_embedded_model() -> None:
    assert Choices().specs() == list(catalog.DEFAULT_LANES)
    assert Choices(lanes=("a/x,b/y", "c/z")).specs() == ["a/x", "b/y", "c/z"]


def test_options_for_all_lanes_go_before_those_that_nobody_chose() -> None:
    found = [catalog.find(spec) for spec in Choices(options=(("temperature", "0.25"),)).specs()]
    assert {lane.options.temperature for lane in found} == {0.25}
    assert len({lane.name for lane in found}) == len(found) == len(catalog.DEFAULT_LANES)
    assert without("a=b/x?seed=1", (("seed", "2"),)) == "a=b/x"
    assert without("a/x", ()) == "a/x"


def test_where_a_run_is_continued_its_lanes_are_the_usual_ones() -> None:
    before = ("a=openai/x?temperature=1&seed=2", "b=local")
    assert Choices().specs(before) == list(before)
    assert Choices(lanes=("c=local",)).specs(before) == ["c=local"]
    specs = Choices(options=(("temperature", "0"),)).specs(before)
    assert specs == ["a=openai/x?seed=2&temperature=0", "b=local?temperature=0"]


def test_the_prompt_is_the_argument_then_the_files_then_the_pipe(piped: Callable[[str], None], tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_bytes("\ufeffa file\n".encode())
    assert asked(Choices(words=("Why", "blue?"))) == "Why blue?"
    assert asked(Choices(files=(str(file),))) == "a file"
    piped("a pipe\n")
    assert asked(Choices()) == "a pipe"
    piped("a pipe\n")
    assert asked(Choices(words=("Sum up:",))) == "Sum up:\n\na pipe"
    piped("a pipe\n")
    assert asked(Choices(words=("Sum up:",), files=(str(file), str(file)))) == "Sum up:\n\na file\n\na file\n\na pipe"
    piped("a pipe\n")
    assert asked(Choices(files=("-", str(file)))) == "a pipe\n\na file"
    piped("a pipe\n")
    assert asked(Choices(words=("Sum up:",), no_stdin=True)) == "Sum up:"


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (Choices(files=("-", "-")), "standard input, once"),
        (Choices(files=("-",), no_stdin=True), "leave out --no-stdin"),
        (Choices(no_stdin=True), "there is no prompt"),
    ],
)
def test_standard_input_that_cannot_be_what_was_asked_for_is_a_mistake(
    piped: Callable[[str], None], choices: Choices, words: str
) -> None:
    piped("a pipe\n")
    with pytest.raises(click.UsageError, match=words):
        choices.prompt()


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_a_file_may_begin_with_a_byte_order_mark(piped: Callable[[str], None], tmp_path: Path, mark: str) -> None:
    (tmp_path / "prompt.txt").write_bytes("Grüße\r\n".encode(mark))
    assert asked(Choices(files=(str(tmp_path / "prompt.txt"),))) == "Grüße"


@pytest.mark.usefixtures("piped")
def test_a_system_prompt_comes_first() -> None:
    assert [m.role for m in Choices(words=("hi",), system="Be brief.").prompt().messages] == ["system", "user"]


def test_a_lane_is_completed_with_the_providers_also_after_a_comma() -> None:
    option = next(parameter for parameter in race.params if parameter.name == "lanes")
    context = click.Context(race)
    assert [item.value for item in complete_lane(context, option, "gro")] == ["groq/"]
    assert [item.value for item in complete_lane(context, option, "openai/x,gro")] == ["openai/x,groq/"]
    assert len(complete_lane(context, option, "")) == len(catalog.providers())


def test_help_names_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        race.main(["--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "[default: cancel]" in out
    assert "[default: off]" in out


def test_what_is_attached_goes_along_as_bytes_or_by_address(piped: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(b"\x89PNG")
    choices = Choices(words=("?",), attachments=(str(tmp_path / "dot.png"), "https://x/y.png"))
    assert choices.prompt().messages[-1].media == (
        Media(b"\x89PNG", media_type="image/png", name="dot.png"),
        Media(url="https://x/y.png"),
    )


def test_an_attachment_that_is_not_there_is_a_mistake(piped: Callable[[str], None]) -> None:
    with pytest.raises(UsageError, match=r"cannot read nowhere\.png"):
        Choices(words=("?",), attachments=("nowhere.png",)).prompt()


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.md", b"# Title\n"), ("notes.log", b"# Title\n"), ("main.rs", b"# Title\n"), ("x.ts", b"# Title\n")],
)
def test_an_attached_text_goes_into_the_prompt_under_its_name(
    piped: Callable[[str], None], tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    (message,) = Choices(words=("Sum up:",), attachments=(str(tmp_path / name),)).prompt().messages
    assert message.text == f"Sum up:\n\n{name}:\n```\n# Title\n```"
    assert message.media == ()


def test_an_empty_attachment_is_a_mistake(piped: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(UsageError, match=r"a\.png is empty"):
        Choices(words=("?",), attachments=(str(tmp_path / "a.png"),)).prompt()


def test_a_second_system_prompt_is_a_mistake_and_not_the_only_one() -> None:
    with pytest.raises(click.UsageError, match="-s is given 2 times"):
        race.main(["-s", "one", "-s", "two", "hi"], standalone_mode=False)
