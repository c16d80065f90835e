"""Each setting is said once: whatever reads settings knows every one of them."""

import json
from math import nan
from pathlib import Path
from typing import Any

import click
import pytest
from attrs import frozen

from fanout import catalog
from fanout.catalog.config import LANE_SETTINGS, load
from fanout.cli.options import CLOCK_FLAGS
from fanout.cli.race import race
from fanout.cli.screen.advice import advice
from fanout.errors import TimedOut, UsageError
from fanout.prompt import Options
from fanout.settings import (
    CLOCK,
    COUNT,
    DELAY,
    FROM_ONE,
    LENGTH,
    NUMBER,
    RATE,
    SWITCH,
    TABLE,
    TEXT,
    TEXTS,
    WHOLE,
    Form,
    check_arguments,
    check_settings,
    setting,
    settings_of,
    usual_of,
)
from fanout.settings.timeouts import DEFAULTS, Timeouts

# A value of each form: as text, as it is in TOML, and as it is.
VALUES: dict[int, tuple[str, str, Any]] = {
    id(form): value
    for form, value in (
        (TEXT, ("a", '"a"', "a")),
        (TEXTS, ("a", '["a"]', ("a",))),
        (SWITCH, ("true", "true", True)),
        (WHOLE, ("3", "3", 3)),
        (COUNT, ("3", "3", 3)),
        (LENGTH, ("3", "3", 3)),
        (FROM_ONE, ("3", "3", 3)),
        (NUMBER, ("0.5", "0.5", 0.5)),
        (RATE, ("0.5", "0.5", 0.5)),
        (CLOCK, ("500ms", "0.5", 0.5)),
        (DELAY, ("500ms", "0.5", 0.5)),
    )
}
OF_LANES = {**settings_of(Timeouts), **settings_of(Options)}
SIMPLE = [name for name, one in OF_LANES.items() if one.form is not TABLE]


def said(name: str, found: Any) -> Any:
    return getattr(found.timeouts if name in settings_of(Timeouts) else found.options, name)


@pytest.mark.parametrize("name", SIMPLE)
def test_what_a_clock_or_an_option_may_be_is_the_same_in_specs_and_in_files(name: str, tmp_path: Path) -> None:
    text, toml, value = VALUES[id(OF_LANES[name].form)]
    assert said(name, catalog.find(f"openai/m?{name}={text}")) == value
    (tmp_path / "fanout.toml").write_text(f'[lanes.a]\nspec = "openai/m"\n{name} = {toml}')
    assert said(name, catalog.find("a", load(tmp_path, tmp_path / "nowhere"))) == value


@pytest.mark.parametrize("name", settings_of(Timeouts))
def test_a_clock_has_a_usual_time_a_flag_and_its_place_among_the_defaults(name: str, tmp_path: Path) -> None:
    assert getattr(DEFAULTS, name) is not None
    flag = CLOCK_FLAGS[name]
    found = [parameter for parameter in race.params if flag in parameter.opts]
    usual = "off" if name == "min_tps" else f"{getattr(DEFAULTS, name):g}"
    assert len(found) == 1 and isinstance(found[0], click.Option)
    assert found[0].help == f"{OF_LANES[name].help} Usually {usual}."
    answer: Any = None
    assert advice(answer, TimedOut("late", clock=name)) == f"{flag} sets another limit"
    _, toml, value = VALUES[id(OF_LANES[name].form)]
    (tmp_path / "fanout.toml").write_text(f"[defaults]\n{name} = {toml}")
    assert getattr(load(tmp_path, tmp_path / "nowhere").defaults.timeouts, name) == value


def test_every_setting_of_a_lane_says_what_it_is_for() -> None:
    assert [name for name, one in LANE_SETTINGS.items() if not one.help.endswith(".")] == []


@pytest.mark.parametrize(
    ("form", "bad"),
    [
        (WHOLE, ["", "x", "1.5", str(2**63), str(-(2**63) - 1)]),
        (COUNT, ["-1", "x", "1.0", ""]),
        (LENGTH, ["-1", "x", "1.0", "", str(2**63)]),
        (FROM_ONE, ["0", "-1"]),
        (NUMBER, ["nan", "inf", "x", ""]),
        (RATE, ["-1", "nan", "inf"]),
        (CLOCK, ["0", "-1", "x", "nan", "1e3"]),
        (DELAY, ["-1", "off", "nan"]),
        (SWITCH, ["yes", "1", ""]),
        (TABLE, ["x", "{}"]),
    ],
    ids=lambda value: value.words if isinstance(value, Form) else "",
)
def test_what_does_not_fit_is_refused_in_the_words_of_its_form(form: Form, bad: list[str]) -> None:
    one = setting_of(form)
    for text in bad:
        with pytest.raises(UsageError, match=f"^x takes {form.written or form.words}"):
            one.read("x", text)


def setting_of(form: Form) -> Any:
    @frozen
    class Table:
        x: Any = setting(form)

    return settings_of(Table)["x"]


def test_a_hidden_setting_is_not_repeated() -> None:
    @frozen
    class Table:
        x: int | None = setting(COUNT, hidden=True, usual=7)

    with pytest.raises(UsageError) as caught:
        settings_of(Table)["x"].read("x", "s3cret")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(UsageError) as caught:
        check_settings(Table(-41))
    assert "41" not in str(caught.value)
    assert usual_of(Table) == {"x": 7}
    check_settings(Table())


@pytest.mark.parametrize("value", ['"5"', "true", '["a", 1]', "nan", "-1"])
def test_a_value_from_a_file_has_its_own_type(value: str) -> None:
    import tomllib  # noqa: PLC0415  # here alone

    found = tomllib.loads(f"x = {value}")["x"]
    one = setting_of(RATE)
    with pytest.raises((ValueError, UsageError)):
        one.check("x", one.form.from_toml(found))


@pytest.mark.parametrize("value", [nan, -1.0])
def test_a_lane_table_made_in_python_is_checked_like_one_in_a_file(value: float) -> None:
    with pytest.raises(UsageError, match="first takes a time above 0"):
        catalog.config.LaneTable("x/y", first=value)
    with pytest.raises(UsageError, match="there is no setting 'frist'; did you mean first"):
        catalog.config.LaneTable("x/y", frist=1.0)
    with pytest.raises(UsageError, match="there is no setting 'timeout'; did you mean total"):
        catalog.config.LaneTable("x/y", timeout=1.0)


def test_arguments_are_checked_by_name_and_other_mistakes_are_pythons() -> None:
    @check_arguments("part")
    @frozen
    class Table:
        first: int
        second: int = 0

    assert Table(1, second=2) == Table(1, 2)
    with pytest.raises(UsageError, match="there is no part 'secnd'; did you mean second"):
        Table(1, secnd=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing 1 required"):
        Table()  # type: ignore[call-arg]


def test_body_is_given_part_by_part_in_a_spec() -> None:
    assert catalog.find(f"openai/m?body.a={json.dumps([1])}&body.b=x").options.body == {"a": [1], "b": "x"}
    with pytest.raises(UsageError, match=r"body takes its parts, as body.NAME=JSON"):
        catalog.find("openai/m?body=x")
