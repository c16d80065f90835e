"""Stored logins: nothing is read or imported before a lane wants one."""

import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from fanout.login import store
from fanout.login.stored import StoredLogins
from tests.login.test_logins import Chat, login


@pytest.fixture(autouse=True)
def private_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


async def test_a_stored_login_is_found_and_what_a_service_renewed_is_kept() -> None:
    store.save(login("first"))
    logins = StoredLogins()
    found = await logins.renew(Chat(), None)
    assert found is not None
    assert found.cookies == login("first").cookies
    await logins.keep(evolve(found, fields={"device": "2"}))
    again = await StoredLogins().renew(Chat(), None)
    assert again is not None
    assert again.fields == {"device": "2"}


async def test_nobody_is_asked_where_there_is_none() -> None:
    assert await StoredLogins().renew(Chat(), None) is None


def test_what_reads_logins_is_imported_by_the_first_lane_that_wants_one() -> None:
    code = "import sys, fanout.plan, fanout.login.stored; print('fanout.login.logins' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
