import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.learning import kept
from fanout.learning.circuits import Target
from fanout.learning.latencies import Key
from fanout.learning.memory import Memory
from fanout.login import store
from fanout.login.services import SERVICES
from tests.cli.command import Done
from tests.example import install_example

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
    return {line.split()[0]: line.split()[1:] for line in done.out.splitlines() if line.startswith("  ")}


def test_every_provider_has_a_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    lines = columns(call("providers"))
    assert lines["groq"] == ["yes", "GROQ_API_KEY"]
    assert lines["openai"] == ["no", "OPENAI_API_KEY"]
    assert lines["local"][:3] == ["-", "no", "key"]
    assert next(iter(lines)) == "groq"


def test_with_v_addresses_and_all_variables_are_there(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    lines = columns(call("providers", "-v"))
    assert lines["groq"] == ["yes", "GROQ_API_KEY", "https://api.groq.com/openai/v1"]
    assert lines["gemini"][1:4] == ["GEMINI_API_KEY", "or", "GOOGLE_API_KEY"]


def test_a_pipe_gets_whole_lines(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert "the embedded model, run on this machine: no key, no network" in call("providers").out


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(call: Call, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    done = call("providers")
    assert max(map(len, done.out.splitlines())) <= width
    assert max(map(len, done.err.splitlines())) <= 82


def test_the_variable_that_is_set_is_the_one_that_is_shown(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    assert columns(call("providers"))["gemini"] == ["yes", "GOOGLE_API_KEY", "+1"]


def test_own_lanes_groups_and_plug_ins_come_first(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = """
    [lanes.mine]
    spec = "openai/m"
    base_url = "http://127.0.0.1:8000/v1"
    [groups.quick]
    policy = "race"
    lanes = ["mine", "groq/x"]
    """
    (tmp_path / "fanout.toml").write_text(config)
    monkeypatch.chdir(tmp_path)
    install_example(monkeypatch, tmp_path)
    lines = call("providers").out.splitlines()
    assert lines[:8] == [
        "YOUR LANES",
        "  mine   openai/m at http://127.0.0.1:8000/v1",
        "",
        "YOUR GROUPS",
        "  quick  race: mine, groq/x",
        "",
        "PLUG-INS",
        "  echo   the package fanout-echo 0.1.0",
    ]
    rows = {row["name"]: row for row in json.loads(call("providers", "--json").out)}
    assert [rows[name]["kind"] for name in ("mine", "quick", "echo", "groq")] == [
        "lane",
        "group",
        "plug-in",
        "provider",
    ]


def test_a_configuration_that_cannot_be_read_hides_no_provider(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "fanout.toml").write_text("[lanes")
    monkeypatch.chdir(tmp_path)
    done = call("providers")
    assert "local" in columns(done)
    assert "fanout.toml" in done.err


def test_a_login_is_set_once_it_is_kept_or_in_its_variable(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    before = columns(call("providers"))
    assert [before[name][:2] for name in ("huggingchat", "hailuo", "aura")] == [["no", "login"]] * 3
    assert [before[name][:3] for name in ("koala", "vitalentum")] == [["-", "no", "key"]] * 2
    store.save(Credentials("huggingchat", HOME, {"hf-chat": Secret(KEY), "token": Secret(KEY)}))
    monkeypatch.setenv("FANOUT_HAILUO_TOKEN", KEY)
    after = columns(call("providers"))
    assert [after[name][0] for name in ("huggingchat", "hailuo", "aura")] == ["yes", "yes", "no"]


def test_a_login_to_another_address_is_not_that_of_this_one(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(Credentials("huggingchat", HOME, {"hf-chat": Secret(KEY), "token": Secret(KEY)}))
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_BASE_URL", "https://chat.example.org")
    assert columns(call("providers"))["huggingchat"][:2] == ["no", "login"]


def test_logins_that_others_can_read_count_for_nothing_and_are_named_once(call: Call) -> None:
    store.save(Credentials("huggingchat", HOME, {"hf-chat": Secret(KEY), "token": Secret(KEY)}))
    store.directory().chmod(stat.S_IRWXU | stat.S_IROTH)
    done = call("providers")
    assert columns(done)["huggingchat"][:2] == ["no", "login"]
    assert done.err.count("can be read by others; chmod 700") == 1


def test_what_nobody_offers_says_what_was_seen_of_it_and_when(call: Call) -> None:
    assert "verified-real-server 2026-08-21" in " ".join(columns(call("providers"))["huggingchat"])
    lines = columns(call("providers", "-v"))
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
        "kind": "provider",
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


def test_services_that_failed_lately_are_shown(call: Callable[..., Done]) -> None:
    memory = Memory()
    for _ in range(5):
        memory.circuits.touch(Target(Key("groq", "https://groq.test/v1", "m\x1b[31m"))).fail(0.0, 100)
    kept.save(memory)
    text = call("providers").out
    assert "FAILED LATELY" in text
    assert "groq/m" in text
    assert "\x1b" not in text
    (circuit,) = [row for row in json.loads(call("providers", "--json").out) if row["kind"] == "circuit"]
    assert circuit["name"].startswith("groq/m")
    assert (circuit["state"], circuit["base_url"]) == ("open", "https://groq.test/v1")
    assert 90 < circuit["seconds"] <= 100
    memory = kept.load()
    memory.circuits.touch(Target(Key("groq", "https://groq.test/v1", "m\x1b[31m"))).succeed()
    kept.save(memory)
    assert "FAILED LATELY" not in call("providers").out
