import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.login import store
from fanout.login.services import SERVICES
from tests.cli.command import Done

Call = Callable[..., Done]
KEY = "sk-canary-1234567890"
HOME = "https://huggingface.co/chat"


@pytest.fixture(autouse=True)
def nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for site in SERVICES.values():
        monkeypatch.delenv(site.variable, raising=False)
        monkeypatch.delenv(site.base_url_variable, raising=False)


def columns(done: Done) -> dict[str, list[str]]:
    assert (done.code, KEY in done.out + done.err) == (0, False)
    return {line.split()[0]: line.split()[1:] for line in done.out.splitlines()}


def test_every_provider_has_a_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    lines = columns(call("providers"))
    assert lines["groq"][:3] == ["GROQ_API_KEY", "yes", "https://api.groq.com/openai/v1"]
    assert lines["openai"][:2] == ["OPENAI_API_KEY", "no"]
    assert lines["local"][:2] == ["none", "-"]


def test_a_login_is_set_once_it_is_kept_or_in_its_variable(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    before = columns(call("providers"))
    assert [before[name][:2] for name in ("huggingchat", "hailuo", "aura")] == [["login", "no"]] * 3
    assert [before[name][:2] for name in ("koala", "vitalentum")] == [["none", "-"]] * 2
    store.save(Credentials("huggingchat", HOME, {"hf-chat": Secret(KEY), "token": Secret(KEY)}))
    monkeypatch.setenv("FANOUT_HAILUO_TOKEN", KEY)
    after = columns(call("providers"))
    assert [after[name][1] for name in ("huggingchat", "hailuo", "aura")] == ["yes", "yes", "no"]


def test_a_login_to_another_address_is_not_that_of_this_one(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(Credentials("huggingchat", HOME, {"hf-chat": Secret(KEY), "token": Secret(KEY)}))
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_BASE_URL", "https://chat.example.org")
    assert columns(call("providers"))["huggingchat"][:2] == ["login", "no"]


def test_logins_that_others_can_read_count_for_nothing_and_are_named_once(call: Call) -> None:
    store.save(Credentials("huggingchat", HOME, {"hf-chat": Secret(KEY), "token": Secret(KEY)}))
    store.directory().chmod(stat.S_IRWXU | stat.S_IROTH)
    done = call("providers")
    assert columns(done)["huggingchat"][:2] == ["login", "no"]
    assert done.err.count("can be read by others; chmod 700") == 1


def test_what_nobody_offers_says_what_was_seen_of_it_and_when(call: Call) -> None:
    lines = columns(call("providers"))
    assert "verified-real-server, evidence of 2026-08-21:" in " ".join(lines["huggingchat"])
    assert "presumed-offline, evidence of 2023-10-14:" in " ".join(lines["vitalentum"])


def test_a_key_is_never_shown(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    for arguments in (["providers"], ["providers", "--json"]):
        done = call(*arguments)
        assert KEY not in done.out + done.err


def test_as_json_a_provider_is_an_object(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    monkeypatch.setenv("FANOUT_AURA_COOKIE", "cf_clearance=x")
    rows = {row["name"]: row for row in json.loads(call("providers", "--json").out)}
    assert rows["groq"]["keys"] == ["GROQ_API_KEY"]
    assert rows["groq"]["key_present"] is True
    assert rows["local"] == {
        "name": "local",
        "keys": [],
        "key_present": False,
        "login_present": None,
        "base_url": "local://smollm2/v1",
        "unofficial": False,
        "status": None,
        "evidence": None,
        "note": "the embedded model, run on this machine: no key, no network",
    }
    assert [rows[name]["login_present"] for name in ("aura", "hailuo", "koala")] == [True, False, None]
    seen = {name: rows["koala"][name] for name in ("unofficial", "status", "evidence")}
    assert seen == {"unofficial": True, "status": "presumed-offline", "evidence": "2024-11-06"}
