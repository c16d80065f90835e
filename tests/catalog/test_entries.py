"""The names in lane specs: the tables, and what the environment adds to them."""

import re
from datetime import date

import pytest

from fanout.catalog.entries import Entry, entries
from fanout.errors import UsageError

UNOFFICIAL = ["huggingchat", "hailuo", "aura", "koala", "vitalentum"]


def test_the_embedded_model_comes_first_and_what_nobody_offers_last() -> None:
    names = list(entries())
    assert names[0] == "local"
    assert names[-5:] == UNOFFICIAL
    assert [entry.name for entry in entries().values() if entry.unofficial] == UNOFFICIAL


@pytest.mark.parametrize("name", UNOFFICIAL)
def test_an_interface_that_nobody_offers_says_what_was_seen_of_it_and_when(name: str) -> None:
    entry = entries()[name]
    assert entry.status in ("verified-real-server", "loopback-only", "presumed-offline")
    assert date.fromisoformat(entry.evidence) < date(2026, 9, 1)
    assert entry.note
    assert entry.base_url_env == f"FANOUT_{name.upper()}_BASE_URL"
    assert not entry.needs_key and not entry.keys


def test_no_entry_promises_that_a_live_site_works() -> None:
    assert not [entry.name for entry in entries().values() if re.search(r"\bworks\b", entry.note)]


def test_an_address_is_filled_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("x", "https://{X_HOST}/accounts/{X_ACCOUNT}", keys=("X_KEY",))
    monkeypatch.setenv("X_KEY", "k")
    monkeypatch.setenv("X_HOST", "x.test/")
    monkeypatch.delenv("X_ACCOUNT", raising=False)
    assert (entry.unset, entry.key_present) == (["X_ACCOUNT"], False)
    with pytest.raises(UsageError, match="Set X_ACCOUNT"):
        entry.fill_in()
    monkeypatch.setenv("X_ACCOUNT", "7")
    assert (entry.fill_in(), entry.key_present) == ("https://x.test/accounts/7", True)


def test_an_address_in_the_usual_variable_may_lack_its_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("x", "https://x.test", base_url_env="X_URL")
    monkeypatch.delenv("X_URL", raising=False)
    seen = [entry.url_in_environment]
    monkeypatch.setenv("X_URL", "127.0.0.1:9")
    assert [*seen, entry.url_in_environment] == [None, "http://127.0.0.1:9"]
    assert Entry("x", "https://x.test").url_in_environment is None
