import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.errors import UsageError
from fanout.login import store

CANARY = "CANARY-7f3a91d2c4"
BASE = "https://huggingface.co/chat"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LOGIN = Credentials(
    provider="huggingchat",
    base_url=BASE,
    cookies={"hf-chat": Secret(CANARY), "token": Secret("hf_x")},
    fields={"uuid": "1"},
    headers={"user-agent": "Mozilla/5.0"},
    obtained=NOW,
    expires=NOW + timedelta(days=14),
    source="import",
)
OTHER = evolve(LOGIN, cookies={"hf-chat": Secret("other"), "token": Secret("hf_x")})


def file() -> Path:
    return store.directory() / "huggingchat-85b35996.json"


def rewrite(**changes: Any) -> None:
    file().write_text(json.dumps({**json.loads(file().read_text()), **changes}))


def test_what_is_saved_is_loaded(state: Path) -> None:
    store.save(LOGIN)
    assert store.load("huggingchat", BASE) == LOGIN
    hailuo = Credentials("hailuo", "https://www.hailuo.ai", secrets={"token": Secret("t")})
    store.save(hailuo)
    assert store.load("hailuo", "https://www.hailuo.ai/") == hailuo
    assert store.load_all() == ([hailuo, LOGIN], [])


def test_the_file_is_named_after_provider_and_base_url_and_is_its_owner_s_alone(state: Path) -> None:
    store.save(evolve(LOGIN, base_url=f"{BASE}/"))
    store.save(evolve(OTHER, base_url="https://chat.example.org"))
    names = {path.name for path in state.glob("*.json")}
    assert names == {file().name, store.name_of("huggingchat", "https://chat.example.org")}
    assert {stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()} == {0o600}
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden"])
def test_a_name_that_would_lead_elsewhere_is_refused(state: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not the name of a provider"):
        store.load(name, BASE)


def test_nothing_stored_is_none_and_makes_no_directory(state: Path) -> None:
    assert store.load("huggingchat", BASE) is None
    assert store.load_all() == ([], [])
    assert (store.refresh(LOGIN), store.delete_if(LOGIN), store.delete("huggingchat")) == (False, False, 0)
    assert not state.exists()


def test_fields_that_a_later_version_added_are_ignored(state: Path) -> None:
    store.save(LOGIN)
    rewrite(colour="blue")
    assert store.load("huggingchat", BASE) == LOGIN


def test_a_newer_form_is_refused_with_what_to_do(state: Path) -> None:
    store.save(LOGIN)
    rewrite(version=2)
    with pytest.raises(UsageError, match=r"a newer fanout .* form 2 .* update fanout"):
        store.load("huggingchat", BASE)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"cookies": {"hf-chat": [CANARY]}}, r"cookies\['hf-chat'\]"),
        ({"cookies": CANARY}, "cookies"),
        ({"secrets": {"token": 5}}, r"secrets\['token'\]"),
        ({"expires": CANARY}, "expires"),
        ({"provider": None}, "provider"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_place_and_never_repeated(
    state: Path, changes: dict[str, Any], where: str
) -> None:
    store.save(LOGIN)
    rewrite(**changes)
    with pytest.raises(UsageError, match=f"holds no credentials, see {where}") as caught:
        store.load("huggingchat", BASE)
    assert CANARY not in str(caught.value)
    assert str(file()) in str(caught.value)


@pytest.mark.parametrize("data", ["", "{", f'{{"cookies": {CANARY}', "[" * 100_000, "\x80"])
def test_a_damaged_file_says_how_to_begin_anew(state: Path, data: str) -> None:
    store.save(LOGIN)
    file().write_text(data, "latin-1")
    with pytest.raises(UsageError, match=rf"{file()}.*fanout auth logout huggingchat") as caught:
        store.load("huggingchat", BASE)
    assert CANARY not in str(caught.value)
    found, problems = store.load_all()
    assert (found, len(problems)) == ([], 1)
    assert store.delete("huggingchat") == 1
    assert store.load("huggingchat", BASE) is None


def test_a_damaged_login_to_another_address_is_deleted_without_the_others(state: Path) -> None:
    there = "http://127.0.0.1:3040"
    store.save(LOGIN)
    store.save(evolve(LOGIN, base_url=there))
    (store.directory() / store.name_of("huggingchat", there)).write_text("{")
    with pytest.raises(UsageError, match=f"fanout auth logout huggingchat --base-url {there}, and log in again"):
        store.load("huggingchat", there)


@pytest.mark.parametrize("data", ["[]", "7", "null", '"text"'])
def test_json_that_is_no_object_holds_no_credentials(state: Path, data: str) -> None:
    store.save(LOGIN)
    file().write_text(data)
    with pytest.raises(UsageError, match=f"{file()}: this holds no credentials"):
        store.load("huggingchat", BASE)


def test_a_file_copied_from_another_service_is_not_taken_for_this_one(state: Path) -> None:
    store.save(evolve(LOGIN, base_url="https://chat.example.org"))
    (state / store.name_of("huggingchat", "https://chat.example.org")).rename(file())
    with pytest.raises(UsageError, match="the login to another service"):
        store.load("huggingchat", BASE)


def test_only_those_that_were_refused_are_deleted(state: Path) -> None:
    store.save(LOGIN)
    assert store.delete_if(OTHER) is False
    assert store.load("huggingchat", BASE) == LOGIN
    assert store.delete_if(evolve(LOGIN, expires=None)) is True  # the account says which they are
    assert store.load("huggingchat", BASE) is None


def test_a_new_end_is_written_back(state: Path) -> None:
    store.save(LOGIN)
    renewed = evolve(LOGIN, expires=NOW + timedelta(days=15))
    assert store.refresh(renewed) is True
    assert store.load("huggingchat", BASE) == renewed


def test_an_end_that_moved_by_less_than_a_minute_is_not_worth_a_write(state: Path) -> None:
    store.save(LOGIN)
    before = file().stat().st_ino
    assert store.refresh(evolve(LOGIN, expires=NOW + timedelta(days=14, seconds=59))) is True
    assert file().stat().st_ino == before
    store.refresh(evolve(LOGIN, expires=NOW + timedelta(days=14, seconds=60)))
    assert file().stat().st_ino != before


def test_another_value_of_the_cookie_is_not_stored_over_a_login(state: Path) -> None:
    store.save(LOGIN)
    assert store.refresh(OTHER) is False
    assert store.load("huggingchat", BASE) == LOGIN


def test_after_a_logout_what_still_runs_stores_nothing(state: Path) -> None:
    store.save(LOGIN)
    assert store.delete("huggingchat") == 1
    assert store.refresh(LOGIN) is False
    assert store.load("huggingchat", BASE) is None


def test_a_logout_is_from_one_address_or_from_all_and_from_no_other_provider(state: Path) -> None:
    elsewhere, hailuo = "https://chat.example.org", Credentials("hailuo", BASE, secrets={"token": Secret("t")})
    for login in (LOGIN, evolve(LOGIN, base_url=elsewhere), hailuo):
        store.save(login)
    assert store.delete("huggingchat", elsewhere) == 1
    assert store.load("huggingchat", BASE) == LOGIN
    assert store.delete("huggingchat") == 1
    assert store.load_all() == ([hailuo], [])


def test_what_is_stored_goes_before_the_environment(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_COOKIE", "hf-chat=fromenv; token=hf_y")
    loaded = store.load("huggingchat", BASE)
    assert loaded and loaded.source == "environment" and loaded.cookies["hf-chat"].reveal() == "fromenv"
    store.save(LOGIN)
    assert store.load("huggingchat", BASE) == LOGIN


def test_no_text_form_shows_a_secret(state: Path) -> None:
    store.save(LOGIN)
    loaded = store.load("huggingchat", BASE)
    assert CANARY not in f"{loaded!r} {loaded} {store.load_all()}"
