import fcntl
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from attrs import evolve, frozen
from trio.testing import wait_all_tasks_blocked

from fanout.abc import Head, Provider, Reader, Request
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.errors import AuthError, LoginRequired
from fanout.login import store
from fanout.login.logins import LoginPolicy, Logins
from fanout.login.services import Site

BASE = "https://chat.example.org"


@frozen
class Chat(Provider):
    """The part of a provider that a login needs to know."""

    name: str = "huggingchat"
    base_url: str = BASE
    model: str | None = None

    def read(self, head: Head, request: Request | None = None) -> Reader:
        raise NotImplementedError


@frozen
class Plain(Provider):
    """A provider with no address of its own."""

    name: str = "echo"
    model: str | None = None

    def read(self, head: Head, request: Request | None = None) -> Reader:
        raise NotImplementedError


def login(value: str, base_url: str = BASE) -> Credentials:
    return Credentials("huggingchat", base_url, cookies={"hf-chat": Secret(value)}, source="browser")


class Browser:
    """Logs in when it is told to; gives another cookie every time."""

    def __init__(self, error: Exception | None = None) -> None:
        self.opened = 0
        self.go = trio.Event()
        self.more = trio.Event()
        self.error = error

    async def until(self, opened: int) -> None:
        """Waits until it has been opened so often."""
        while self.opened < opened:
            await self.more.wait()

    async def __call__(self, site: Site, base_url: str) -> Credentials:
        self.opened += 1
        number = self.opened
        self.more.set()
        self.more = trio.Event()
        await self.go.wait()
        if self.error:
            raise self.error
        return login(f"new{number}", base_url)


async def test_never_gives_what_is_stored_and_opens_nothing(state: Path) -> None:
    browser = Browser()
    logins = Logins("never", browser)
    assert await logins.renew(Chat(), None) is None
    store.save(login("a"))
    assert await logins.renew(Chat(), None) == login("a")
    assert browser.opened == 0


async def test_what_was_refused_is_deleted_and_not_given_again(state: Path) -> None:
    store.save(login("a"))
    assert await Logins().renew(Chat(), login("a")) is None
    assert store.load("huggingchat", BASE) is None


async def test_what_somebody_stored_meanwhile_is_used_and_not_deleted(state: Path) -> None:
    store.save(login("newer"))
    browser = Browser()
    assert await Logins("auto", browser).renew(Chat(), login("a")) == login("newer")
    assert store.load("huggingchat", BASE) == login("newer")
    assert browser.opened == 0


async def test_a_refused_variable_is_not_given_again(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_BASE_URL", BASE)
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_COOKIE", "hf-chat=a")
    given = await Logins().renew(Chat(), None)
    assert given and given.source == "environment"
    assert await Logins().renew(Chat(), given) is None
    assert await Logins().renew(Chat(), login("stored")) == given


async def test_a_provider_without_an_address_or_without_a_login_has_none(state: Path) -> None:
    browser = Browser()
    assert await Logins("auto", browser).renew(Plain(), None) is None
    assert await Logins("auto", browser).renew(Chat(name="koala"), None) is None
    assert browser.opened == 0


async def test_twenty_lanes_cause_one_login_and_it_is_stored(state: Path) -> None:
    store.save(login("a"))
    browser = Browser()
    logins = Logins("auto", browser)
    given = []

    async def lane() -> None:
        given.append(await logins.renew(Chat(), login("a")))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(lane)
            await browser.until(1)
            browser.go.set()
    assert given == [login("new1")] * 20
    assert browser.opened == 1
    assert store.load("huggingchat", BASE) == login("new1")


async def test_two_addresses_of_one_service_are_two_logins(state: Path) -> None:
    browser = Browser()
    logins = Logins("auto", browser)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(logins.renew, Chat(), None)
            nursery.start_soon(logins.renew, Chat(base_url="https://other.example.org"), None)
            await browser.until(2)
            browser.go.set()
    assert len(store.load_all()[0]) == 2


async def test_a_login_that_fails_fails_for_all_who_waited_and_for_nobody_after(state: Path) -> None:
    browser = Browser(LoginRequired("the window was closed", command="fanout login huggingchat"))
    logins = Logins("auto", browser)
    failures: list[LoginRequired] = []

    async def lane() -> None:
        try:
            await logins.renew(Chat(), None)
        except LoginRequired as error:
            error.lane = f"lane {len(failures)}"  # as a lane does
            failures.append(error)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(lane)
            await browser.until(1)
            await wait_all_tasks_blocked(0.05)
            browser.go.set()
    assert browser.opened == 1
    assert [error.message for error in failures] == ["the window was closed"] * 5
    assert len({error.lane for error in failures}) == 5
    assert store.load_all() == ([], [])
    browser.error = None
    assert await logins.renew(Chat(), None) == login("new2")


async def test_a_login_that_is_cancelled_leaves_it_to_the_next_lane(state: Path) -> None:
    browser = Browser()
    logins = Logins("auto", browser)
    given = []
    first = trio.CancelScope()

    async def cancelled() -> None:
        with first:
            await logins.renew(Chat(), None)

    async def patient() -> None:
        given.append(await logins.renew(Chat(), None))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancelled)
            await browser.until(1)
            nursery.start_soon(patient)
            first.cancel()
            await browser.until(2)
            browser.go.set()
    assert given == [login("new2")]


@pytest.mark.parametrize("agreed", [True, False, None])
async def test_ask_logs_in_only_after_a_person_agreed(state: Path, agreed: bool | None) -> None:
    asked = []

    async def confirm(site: Site, base_url: str) -> bool:
        asked.append((site.name, base_url))
        return bool(agreed)

    browser = Browser()
    browser.go.set()
    logins = Logins("ask", browser, None if agreed is None else confirm)
    if agreed:
        assert await logins.renew(Chat(), None) == login("new1")
    else:
        with pytest.raises(LoginRequired, match="nobody agreed") as caught:
            await logins.renew(Chat(), None)
        assert caught.value.command == f"fanout login huggingchat --base-url {BASE}"
    assert asked == ([] if agreed is None else [("huggingchat", BASE)])
    assert browser.opened == bool(agreed)


@pytest.mark.parametrize("policy", ["ask", "auto"])
async def test_without_a_way_to_log_in_there_is_only_the_store(state: Path, policy: LoginPolicy) -> None:
    assert await Logins(policy).renew(Chat(), None) is None
    assert not await trio.Path(state).exists()


async def test_keep_stores_a_new_end_and_no_other_account(state: Path) -> None:
    end = datetime(2026, 12, 5, tzinfo=UTC)
    logins = Logins()
    store.save(login("a"))
    await logins.keep(evolve(login("a"), expires=end))
    assert store.load("huggingchat", BASE) == evolve(login("a"), expires=end)
    await logins.keep(login("dropped"))
    assert store.load("huggingchat", BASE) == evolve(login("a"), expires=end)
    store.delete("huggingchat")
    await logins.keep(login("a"))
    assert store.load("huggingchat", BASE) is None


async def test_a_store_that_others_can_read_ends_the_lane_and_not_the_run(state: Path) -> None:
    store.save(login("CANARY-7f3a"))
    await trio.Path(state).chmod(0o755)
    logins = Logins("auto", Browser())
    with pytest.raises(AuthError, match="chmod 700") as caught:
        await logins.renew(Chat(), login("CANARY-7f3a"))
    assert "CANARY" not in f"{caught.value} {caught.value!r}"
    with pytest.raises(AuthError, match="chmod 700"):
        await logins.keep(login("CANARY-7f3a"))


async def test_the_loop_runs_on_and_no_descriptor_is_left_while_and_after_another_process_logs_in(
    state: Path, nursery: trio.Nursery
) -> None:
    other = store.open_login_file("huggingchat", BASE)
    fcntl.flock(other, fcntl.LOCK_EX)
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208  # by count
    browser = Browser()
    with trio.move_on_after(0.15) as scope:
        await Logins("auto", browser).renew(Chat(), None)
    assert scope.cancelled_caught
    assert browser.opened == 0
    assert len(os.listdir("/dev/fd")) <= before + 3  # noqa: PTH208  # the loop's own
    os.close(other)


@pytest.mark.parametrize("work", ["keep", "renew"])
async def test_a_store_that_another_process_changes_is_waited_for_no_longer_than_the_caller_wants(
    state: Path, nursery: trio.Nursery, work: str
) -> None:
    async def let_go() -> None:
        await trio.sleep(0.1)
        os.close(other)

    async def call() -> None:
        await (logins.renew(Chat(), login("a")) if work == "renew" else logins.keep(renewed))

    logins, renewed = Logins(), evolve(login("a"), expires=datetime(2026, 12, 5, tzinfo=UTC))
    store.save(login("a"))
    other = os.open(state / ".lock", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    began = trio.current_time()
    with trio.move_on_after(0.1) as scope:
        await call()
    assert scope.cancelled_caught
    assert trio.current_time() - began < 0.8
    assert store.load("huggingchat", BASE) == login("a")
    nursery.start_soon(let_go)
    await call()
    assert store.load("huggingchat", BASE) == (renewed if work == "keep" else None)


SCRIPT = """
import sys, trio
from fanout.login.logins import Logins
from tests.login.test_logins import Chat, login

async def browser(site, base_url):
    print("opened", flush=True)
    await trio.to_thread.run_sync(sys.stdin.readline)
    return login("process", base_url)

print("given", trio.run(Logins("auto", browser).renew, Chat(), None).cookies["hf-chat"].reveal(), flush=True)
"""


@pytest.mark.slow
def test_two_processes_open_one_browser(state: Path) -> None:
    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    with start() as one:
        assert one.stdin and one.stdout
        assert one.stdout.readline() == "opened\n"
        with start() as two:
            assert two.stdin and two.stdout
            with pytest.raises(subprocess.TimeoutExpired):
                two.wait(1)
            one.stdin.write("\n")
            one.stdin.flush()
            assert two.stdout.read() == "given process\n"
        assert one.stdout.read() == "given process\n"
