import json
from collections.abc import Callable

import pytest

from tests.cli.command import Done

KEY = "sk-canary-1234567890"


def test_every_provider_has_a_line(call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = call("providers")
    assert done.code == 0
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    assert lines["groq"].split()[1:4] == ["GROQ_API_KEY", "yes", "https://api.groq.com/openai/v1"]
    assert lines["openai"].split()[1:3] == ["OPENAI_API_KEY", "no"]
    assert lines["local"].split()[1:3] == ["none", "-"]


def test_a_key_is_never_shown(call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    for arguments in (["providers"], ["providers", "--json"]):
        done = call(*arguments)
        assert KEY not in done.out + done.err


def test_as_json_a_provider_is_an_object(call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    done = call("providers", "--json")
    rows = {row["name"]: row for row in json.loads(done.out)}
    assert rows["groq"]["keys"] == ["GROQ_API_KEY"]
    assert rows["groq"]["key_present"] is True
    assert set(rows["local"]) == {"name", "keys", "key_present", "base_url", "note"}
