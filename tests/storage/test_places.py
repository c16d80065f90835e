"""Paths where nobody's home is known, or is no directory."""

import pwd
import sys
from pathlib import Path
from typing import Any

import pytest

from fanout import catalog
from fanout.bench.records import store as runs
from fanout.catalog.config import Config, load
from fanout.cli import last
from fanout.credentials.secret import Secret
from fanout.errors import UsageError
from fanout.local import weights
from fanout.login import store
from fanout.storage.places import app_directory, expand_home


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither HOME nor an entry in the list of users, as in many a container."""

    def nobody(*_: object) -> Any:
        raise KeyError

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/here")
    assert [str(expand_home(text)) for text in ("~", "~/a", "a/~", "./~a")] == ["/here", "/here/a", "a/~", "~a"]


@pytest.mark.parametrize("text", ["~nosuch/q", "~nosuch"])
def test_a_home_that_nobody_has_is_a_mistake_that_says_what_to_write(text: str) -> None:
    with pytest.raises(UsageError, match=rf"{text}: .* whole path, or ./{text}"):
        expand_home(text)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_the_users_directories_are_nowhere() -> None:
    with pytest.raises(UsageError, match=r"home directory .* set HOME"):
        app_directory("state")
    for place in (store.directory, last.directory, runs.default_directory, weights.cache_path):
        with pytest.raises(UsageError, match="set HOME"):
            place()
    with pytest.raises(UsageError, match="whole path"):
        expand_home("~/q")


@pytest.mark.usefixtures("homeless")
def test_without_a_home_there_is_no_users_file_and_the_project_s_is_read(tmp_path: Path) -> None:
    assert load(tmp_path) == Config()
    (tmp_path / "fanout.toml").write_text("[defaults]\nfirst = 3")
    assert load(tmp_path).defaults.first == 3


@pytest.mark.usefixtures("homeless")
def test_without_a_home_nothing_is_stored_and_the_environment_holds_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.load("hailuo", "https://www.hailuo.ai") is None
    monkeypatch.setenv("FANOUT_HAILUO_TOKEN", "t-1")
    monkeypatch.delenv("FANOUT_HAILUO_BASE_URL", raising=False)
    found: Any = catalog.find("hailuo").provider
    assert found.credentials.secrets == {"token": Secret("t-1")}
    assert not store.refresh(found.credentials)
    assert not store.delete_if(found.credentials)
    with pytest.raises(UsageError, match="set HOME"):
        store.save(found.credentials)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_the_weights_that_were_installed_are_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed = tmp_path / weights.PACKAGE
    installed.mkdir()
    (installed / "__init__.py").touch()
    (installed / weights.FILE).touch()
    monkeypatch.delenv("FANOUT_MODEL", raising=False)
    monkeypatch.delitem(sys.modules, weights.PACKAGE, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert weights.find() == installed / weights.FILE


def test_a_home_that_is_no_directory_holds_no_users_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert load(tmp_path) == Config()
