import os
import re
from math import inf
from pathlib import Path

import pytest

from fanout import catalog
from fanout.catalog.config import Config, DefaultsTable, GroupTable, LaneTable, find_files, load, read
from fanout.errors import UsageError
from tests.cpu import seconds_of

CLOCKS = ("connect", "first", "idle", "total")


def configured(tmp_path: Path, project: str = "", user: str = "") -> Config:
    for name, text in (("project", project), ("user", user)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "fanout.toml").write_text(text, "utf-8")
    return load(tmp_path / "project", tmp_path / "user")


def mistakes(tmp_path: Path, text: str) -> str:
    """The words for a file with mistakes: of the tables that have them, or of all of it."""
    try:
        return "\n".join(configured(tmp_path, text).broken.values())
    except UsageError as error:
        return str(error)


def test_without_a_file_nothing_is_configured(tmp_path: Path) -> None:
    assert load(tmp_path, tmp_path) == Config()


def test_lanes_groups_and_defaults_are_read(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        """
        [lanes.mine]
        spec = "openai/my-model"
        base_url = "http://127.0.0.1:8000/v1"
        key_env = ""
        first = 5
        stop = ["a", "b"]
        body = {top_k = 40}
        [groups.quick]
        policy = "race"
        lanes = ["mine", "local"]
        on = "first_token"
        [defaults]
        idle = 20
        retries = 0
        """,
    )
    mine = LaneTable(
        "openai/my-model",
        base_url="http://127.0.0.1:8000/v1",
        key_env="",
        first=5.0,
        stop=["a", "b"],
        body={"top_k": 40},
    )
    quick = GroupTable("race", ["mine", "local"], on="first_token")
    assert config == Config({"mine": mine}, {"quick": quick}, DefaultsTable(idle=20.0, retries=0))


def test_the_projects_file_goes_before_the_users(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        '[lanes.a]\nspec = "x/project"\n[defaults]\nfirst = 1',
        '[lanes.a]\nspec = "x/user"\n[lanes.b]\nspec = "x/b"\n[defaults]\nfirst = 9\nidle = 9',
    )
    assert {name: lane.spec for name, lane in config.lanes.items()} == {"a": "x/project", "b": "x/b"}
    assert (config.defaults.first, config.defaults.idle) == (1, 9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[lanes.a]\nspec = "x/y"\nfrist = 5', r"lanes\['a'\]: there is no key 'frist'; did you mean 'first'\?"),
        ("[lanes.a]\nfirst = 5", r"lanes\['a'\].spec: this is missing"),
        ('[lanes.a]\nspec = "x/y"\nfirst = "5"', r"lanes\['a'\].first: this should be a number, not '5'"),
        ('[lanes.a]\nspec = "x/y"\nmax_tokens = 3.5', "max_tokens: this should be a whole number, not 3.5"),
        ('[lanes.a]\nspec = "x/y"\nseed = true', "seed: this should be a whole number, not True"),
        ('[groups.q]\npolicy = "race"\nlanes = "a"', r"groups\['q'\].lanes: this should be a list of texts"),
        ('[lane.a]\nspec = "x/y"', "top level: there is no key 'lane'; did you mean 'lanes'"),
        ("[defaults]\nzzz = 1", "there is no key 'zzz'; there are connect, first"),
        ('[lanes.a\nspec = "x/y"', "at line 1"),
    ],
)
def test_a_mistake_is_named_with_file_place_and_the_nearest_right_key(tmp_path: Path, text: str, words: str) -> None:
    said = mistakes(tmp_path, text)
    assert re.search(words, said)
    assert str(tmp_path / "project" / "fanout.toml") in said


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        *[(f"{clock} = {bad}", f"{clock} takes a time above 0") for clock in CLOCKS for bad in ("nan", "0", "-1.5")],
        ("min_tps = -1", "min_tps takes a rate from 0 on"),
        ("min_tps = inf", "min_tps takes"),
        ("min_tps = nan", "min_tps takes"),
        ("retries = -1", "retries takes a whole number from 0 on, not -1"),
    ],
)
@pytest.mark.parametrize("table", ["defaults", "lanes.a"])
def test_a_value_out_of_range_is_refused(tmp_path: Path, table: str, setting: str, words: str) -> None:
    spec = 'spec = "x/y"' if table == "lanes.a" else ""
    said = mistakes(tmp_path, f"[{table}]\n{spec}\n{setting}")
    assert re.search(words, said)
    place = "lanes['a']" if table == "lanes.a" else table
    assert f"fanout.toml: {place}: " in said


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("concurrency = 0", "concurrency takes a whole number from 1 on, not 0"),
        ("concurrency = -3", "concurrency takes a whole number from 1 on, not -3"),
        ("temperature = nan", "temperature takes a number, not nan"),
        ("top_p = inf", "top_p takes a number, not inf"),
        ("max_tokens = 9223372036854775808", "max_tokens takes a whole number from 0 on, of at most 64 bits"),
    ],
)
def test_a_lane_s_value_out_of_range_is_refused(tmp_path: Path, setting: str, words: str) -> None:
    assert re.search(words, mistakes(tmp_path, f'[lanes.a]\nspec = "x/y"\n{setting}'))


@pytest.mark.parametrize("setting", ["deadline = nan", "deadline = 0", "after = nan", "after = -1"])
def test_a_group_s_time_out_of_range_is_refused(tmp_path: Path, setting: str) -> None:
    said = mistakes(tmp_path, f'[groups.a]\npolicy = "hedge"\nlanes = ["local"]\n{setting}')
    assert f"{setting.split(maxsplit=1)[0]} takes a time" in said


def test_a_clock_of_inf_is_off(tmp_path: Path) -> None:
    assert configured(tmp_path, "[defaults]\ntotal = inf\nretries = 0").defaults == DefaultsTable(total=inf, retries=0)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    text = "[lanes.a]\nfirst = true\n[lanes.b]\nspec = 5"
    assert len(mistakes(tmp_path, text).splitlines()) == 3
    with pytest.raises(UsageError) as caught:  # of a file that its user has named
        read(tmp_path / "project" / "fanout.toml")
    assert len(str(caught.value).splitlines()) == 3


def test_a_table_with_a_mistake_leaves_the_others_alone(tmp_path: Path) -> None:
    config = configured(
        tmp_path, '[lanes.a]\nfrist = 1\n[lanes.b]\nspec = "local"\n[groups.g]\npolicy = 1\nlanes = ["b"]'
    )
    assert list(config.lanes) == ["b"]
    assert list(config.broken) == ["lanes.a", "groups.g"]


def test_a_broken_table_keeps_its_name(tmp_path: Path) -> None:
    """A project's file gives no other meaning to what its user has mistyped."""
    config = configured(tmp_path, '[lanes.a]\nspec = "openai/thief"', user="[lanes.a]\nfrist = 1")
    assert "lanes.a" in config.contested
    other = configured(tmp_path / "other", "[lanes.a]\nfrist = 1", user='[lanes.a]\nspec = "openai/m"')
    assert "lanes.a" in other.broken


ODD = {
    "deep arrays": "a = " + "[" * 5000,
    "deep arrays in a body": '[lanes.a]\nspec = "x/y"\n[lanes.a.body]\nb = ' + "[" * 5000 + "]" * 5000,
    "deep tables": "a" + ".a" * 5000 + " = 1",
    "many digits": "a = " + "1" * 5000,
    "many digits in place of a clock": '[lanes.a]\nspec = "x/y"\nfirst = ' + "1" * 4000,
    "many digits in hexadecimal": '[lanes.a]\nspec = "x/y"\nfirst = 0x' + "f" * 5000,
    "many digits of a temperature": '[lanes.a]\nspec = "x/y"\ntemperature = 0x' + "f" * 5000,
    "many digits in place of a text": "[lanes.a]\nspec = 0x" + "f" * 5000,
    "no text": "\x00",
    "too long": "#" * 300_000,
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_file_is_one_mistake(tmp_path: Path, kind: str) -> None:
    said = mistakes(tmp_path, ODD[kind])
    assert said.startswith(f"{tmp_path / 'project' / 'fanout.toml'}: ")
    assert len(said) < 600


@pytest.mark.parametrize("kind", ["fifo", "loop", "directory", "device"])
@pytest.mark.parametrize("whose", ["project", "user"])
def test_what_is_no_file_is_one_mistake(tmp_path: Path, kind: str, whose: str) -> None:
    for name in ("project", "user"):
        (tmp_path / name).mkdir()
    path = tmp_path / whose / "fanout.toml"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "loop":
            path.symlink_to(path)
        case "directory":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
    with pytest.raises(UsageError, match=r"fanout.toml: "):
        load(tmp_path / "project", tmp_path / "user")


def test_what_comes_to_many_lanes_is_one_mistake_and_no_long_wait(tmp_path: Path) -> None:
    doubled = [f'[groups.g{n}]\npolicy = "all"\nlanes = ["g{n + 1}", "g{n + 1}"]' for n in range(40)]
    nothing = '[groups.g40]\npolicy = "all"\nlanes = []'
    chain = [f'[lanes.l{n}]\nspec = "l{n + 1}"' for n in range(2000)]
    nested = [f'[groups.n{n}]\npolicy = "all"\nlanes = ["n{n + 1}"]' for n in range(2000)]
    config = configured(tmp_path, "\n".join([*doubled, nothing, *chain, *nested]))
    with pytest.raises(UsageError, match="'g0' comes to more than 5000"):
        catalog.resolve("g0", config)
    with pytest.raises(UsageError, match="'l0' is made of more than 50 lanes"):
        catalog.resolve("l0", config)
    with pytest.raises(UsageError, match="'n0' contains more than 50 groups"):
        catalog.resolve("n0", config)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert set(configured(tmp_path, "\ufeff[lanes.mine]\nspec = 'local'").lanes) == {"mine"}


def test_the_files_that_are_there_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fanout").mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert find_files() == []
    (tmp_path / "fanout" / "fanout.toml").touch()
    (tmp_path / "fanout.toml").touch()
    assert find_files() == [tmp_path / "fanout.toml", tmp_path / "fanout" / "fanout.toml"]


KEY = ".".join("a" * 40_000)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{KEY} = 1", 1),
        (f"a = 1\n[{KEY}]", 2),
        (f"a = [\n{{b = 1, {KEY} = 1}}]", 2),
        ('"a.b" . ' * 30_000 + "c = 1", 1),
        ("'a' . " * 30_000 + "c = 1", 1),
        (f'# """ it\'s\n{KEY} = 1', 2),
        (f'a = {{b = """\n \' \\"""""", {KEY} = 1}}', 2),
        (f"a = {{b = '''\n \" \\'''', {KEY} = 1}}", 2),
    ],
    ids=range(8),
)
def test_a_key_of_thousands_of_parts_is_refused_at_once(tmp_path: Path, text: str, line: int) -> None:
    said: list[str] = []
    assert seconds_of(lambda: said.append(mistakes(tmp_path, text))) < 0.5
    assert said[0].endswith(f"fanout.toml: line {line}: a key may have 32 parts with dots between")


@pytest.mark.parametrize(
    "text",
    ["a" * 200_000, "a " * 100_000, '\\"' * 100_000, '"' * 200_000, "'''\\" * 50_000, "a. " * 31 + "\n"],
    ids=range(6),
)
def test_what_is_no_toml_is_refused_at_once_too(tmp_path: Path, text: str) -> None:
    assert seconds_of(lambda: mistakes(tmp_path, text)) < 0.5


def test_dots_in_texts_and_lists_are_no_parts_of_keys(tmp_path: Path) -> None:
    system = ".".join("a" * 99)
    config = configured(
        tmp_path,
        f"""
        [lanes.a]
        spec = "local"
        reasoning = "{system}" # {system}
        stop = ['{system}', '''
        {system}''']
        body = {{x = [{"1.5, " * 99} 1.5]}}
        """,
    )
    assert not config.broken and len(config.lanes["a"].given["stop"]) == 2


def test_of_thousands_of_mistakes_the_first_are_told_and_the_others_counted(tmp_path: Path) -> None:
    lines = "\n".join(f"key{number} = 1" for number in range(4000))
    lanes = "\n".join(f"[lanes.l{number}]\nkey = 1" for number in range(4000))
    long = f"{'k' * 100_000} = 1"
    for name, text in enumerate((lines, f"[lanes.a]\n{lines}", f"[defaults]\n{lines}", long, f"[lanes.a]\n{long}")):
        said = mistakes(tmp_path / str(name), text)
        assert len(said) < 40_000
        assert ("more mistakes" in said) == ("key" in text)
    assert seconds_of(lambda: mistakes(tmp_path / "lanes", lanes)) < 2
    file = tmp_path / "many.toml"
    file.write_text(lanes)
    with pytest.raises(UsageError, match=r"and 7980 more mistakes$"):
        read(file)
