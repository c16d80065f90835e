from pathlib import Path

import pytest

from fanout.login import store
from fanout.login.services import SERVICES


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of the credential store, which does not exist yet; no variable holds a login."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for site in SERVICES.values():
        monkeypatch.delenv(site.variable, raising=False)
        monkeypatch.delenv(site.base_url_variable, raising=False)
    assert tmp_path in store.directory().parents
    return store.directory()
