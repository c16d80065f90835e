"""The services that nobody offers, raced together over their strict loopback servers: off at first, and no trouble."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from attrs import define

import fanout
from fanout import All, Race, Status, catalog
from fanout.catalog.config import Config, DefaultsTable
from fanout.chats.hailuo import DEVICES
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.errors import LoginRequired, UsageError
from fanout.events import Conversation, LoginNeeded
from fanout.login import store
from tests.cli.command import fanout as command
from tests.servers import hailuo, huggingchat, openai
from tests.servers.aura import AuraServer
from tests.servers.hailuo import Account, HailuoServer
from tests.servers.http import running
from tests.servers.huggingchat import HuggingChatServer
from tests.servers.koala import KoalaServer
from tests.servers.openai import OpenAIServer
from tests.servers.vitalentum import VitalentumServer
from tests.servers.website import EVENTS, HANG, Answer, Website, pieces
from tests.steps import watched

NAMES = ("huggingchat", "hailuo", "aura", "koala", "vitalentum")
CANARY = "CANARY-token-5b1f"
STEP = 0.005
"""Seconds that no task may keep the processor at a stretch: the others would wait for it."""


@pytest.fixture(autouse=True)
def nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    DEVICES.clear()
    monkeypatch.delenv("FANOUT_UNOFFICIAL", raising=False)
    for name in NAMES:
        for end in ("BASE_URL", "COOKIE", "TOKEN"):
            monkeypatch.delenv(f"FANOUT_{name.upper()}_{end}", raising=False)


@define(eq=False)
class Services:
    """All five, and a service with a key beside them."""

    huggingchat: HuggingChatServer
    hailuo: HailuoServer
    aura: AuraServer
    koala: KoalaServer
    vitalentum: VitalentumServer
    openai: OpenAIServer

    def lanes(self, *names: str, **options: str) -> list[str]:
        """The specs of these lanes, of all five without names."""
        more = "".join(f"&{key}={value}" for key, value in options.items())
        urls = {name: getattr(self, name).url for name in NAMES if name != "huggingchat"}
        urls["huggingchat"] = self.huggingchat.base_url
        models = {"huggingchat": "huggingchat/org/text"}
        return [f"{name}={models.get(name, name)}?base_url={urls[name]}{more}" for name in names or NAMES]

    @property
    def websites(self) -> list[Website]:
        return [self.hailuo, self.aura, self.koala, self.vitalentum]

    def hang(self, *names: str) -> None:
        """From now on these begin their answer and never end it."""
        for name in names or NAMES:
            match name:
                case "huggingchat":
                    begun = huggingchat.token("Well ")
                    self.huggingchat.scripts.append([huggingchat.STARTED, begun, huggingchat.HANG])
                case "hailuo":
                    self.hailuo.play = lambda chat, text: [hailuo.sent(chat), hailuo.said(chat, "Well "), HANG]
                case "aura":
                    self.aura.replies.append(Answer([b"Well ", HANG]))
                case "koala":
                    self.koala.replies.append(Answer([b'data: "Well "\n\n', HANG], headers=EVENTS))
                case "vitalentum":
                    delta = b'data: {"choices":[{"index":0,"delta":{"content":"Well "}}]}\n\n'
                    self.vitalentum.replies.append(Answer([delta, HANG], headers=EVENTS))

    def check(self) -> None:
        """Nobody sent anything that a service would have refused."""
        assert [wrong for server in self.websites for wrong in server.wrong] == []


@asynccontextmanager
async def open_services(*, logged_in: bool = True) -> AsyncGenerator[Services]:
    """Serves all of them on free ports of 127.0.0.1; with a login at those that want one."""
    async with AsyncExitStack() as stack:
        services = Services(
            await stack.enter_async_context(huggingchat.open_server(2026, login=True, prefix="/chat")),
            await stack.enter_async_context(running(HailuoServer(accounts={CANARY: Account()}))),
            await stack.enter_async_context(running(AuraServer())),
            await stack.enter_async_context(running(KoalaServer())),
            await stack.enter_async_context(running(VitalentumServer())),
            await stack.enter_async_context(openai.open_server()),
        )
        if logged_in:
            log_in(services)
        yield services
        services.check()


def log_in(services: Services) -> None:
    """Stores a login to the two services that want one."""
    session = f"{CANARY}-session"
    services.huggingchat.sessions[session] = "user-1"
    store.save(Credentials("huggingchat", services.huggingchat.base_url, {"hf-chat": Secret(session)}))
    store.save(Credentials("hailuo", services.hailuo.url, secrets={"token": Secret(CANARY)}))


@pytest.mark.slow
async def test_all_five_answer_side_by_side() -> None:
    async with open_services() as services:
        run = await fanout.ask("Why?", All(*services.lanes()))
        said = {answer.lane: answer.text for answer in run.answers}
    assert said == {
        "huggingchat": "Hello there",
        "hailuo": "A whale sings 🐳",
        "aura": "Mademoiserie, welcome: Grüße 🐳",
        "koala": 'Hello "you"\n',
        "vitalentum": "Hi, Grüße 🐳",
    }
    assert {answer.status for answer in run.answers} == {Status.FINISHED}


@pytest.mark.slow
@pytest.mark.parametrize("winner", [*NAMES, "scripted"])
async def test_each_wins_a_race_in_which_the_others_hang_and_those_are_told_to_stop(winner: str) -> None:
    async with open_services() as services:
        services.hang(*(name for name in NAMES if name != winner))
        # The winner's last word comes when all others have begun.
        script = {"ttft": 0.4, "say": "Blue."} if winner == "scripted" else {"n": 2, "hang": 2}
        lanes = [*services.lanes(), services.openai.lane("scripted", **script)]
        begun: set[str] = set()
        async with fanout.open_fanout("Why?", Race(*lanes, accept=lambda answer: answer.lane == winner)) as running_:
            async for tagged in running_:
                if isinstance(tagged.event, fanout.Delta):
                    begun.add(tagged.lane)
        run = running_.run
        assert run.winner and run.winner.lane == winner
        hung = [answer for answer in run.answers if answer.lane != winner]
        assert {answer.status for answer in hung} == {Status.CANCELLED}
        if winner == "scripted":
            assert begun == {*NAMES, "scripted"}
            with trio.fail_after(5):
                for server in services.websites:
                    await server.left.wait()
            assert services.huggingchat.stops == 1
            assert len(services.hailuo.deleted) == 1
    assert run.elapsed < 3


@pytest.mark.slow
async def test_the_embedded_model_wins_while_all_five_hang_and_loses_to_each_that_does_not() -> None:
    async with open_services() as services, fanout.open_transport() as transport:
        lanes = [*services.lanes(), "local?max_tokens=8&seed=1"]
        services.hang()
        first = await fanout.ask("Why?", Race(*lanes), transport=transport, deadline=120)
        assert first.winner and first.winner.lane == "local"
        assert [answer.status for answer in first.answers] == [*[Status.CANCELLED] * 5, Status.FINISHED]
        second = await fanout.ask("Why?", Race(*lanes[:-1], "local?max_tokens=4000"), transport=transport, deadline=120)
        assert second.winner and second.winner.lane in NAMES
        assert second["local"].status is Status.CANCELLED


@pytest.mark.slow
async def test_no_service_keeps_the_others_from_the_processor() -> None:
    async with open_services() as services, fanout.open_transport() as transport:
        lanes = [*services.lanes(), services.openai.lane("scripted", n=300), "local?max_tokens=40&seed=1"]
        # What is imported and computed once, in the first lane of a process, is not what is asked here.
        await fanout.ask("Why?", All(*lanes), transport=transport)
        words = " ".join(f"word{number}" for number in range(400))
        for _ in range(5):
            services.huggingchat.scripts.append(huggingchat.answer(words))
            services.hailuo.play = lambda chat, text: [
                hailuo.sent(chat),
                *(hailuo.said(chat, words[:length]) for length in range(20, 1000, 20)),
                hailuo.CLOSE,
            ]
            services.aura.replies.append(Answer(pieces(words.encode(), 9)))
            stream = "".join(f"data: {json.dumps(word)}\n\n" for word in words.split())
            services.koala.replies.append(Answer(pieces(stream.encode(), 9), headers=EVENTS))
            async with watched() as steps:
                run = await fanout.ask("Why?", All(*lanes), transport=transport)
            assert [answer.status for answer in run.answers] == [Status.FINISHED] * 7
            assert steps.count > 1000
            # Another thread of ours may have Python's lock for a moment, which is a wait too: hence several rounds.
            if steps.longest < STEP:
                break
    assert steps.longest < STEP, f"{steps.whose} for {steps.longest * 1000:.1f} ms at a stretch"


@pytest.mark.parametrize(("way", "words"), [("computes", "computed"), ("waits", "waited")])
async def test_the_watch_finds_a_task_that_keeps_the_processor(way: str, words: str) -> None:
    async with watched() as steps:
        if way == "computes":
            until = time.thread_time() + 2 * STEP
            while time.thread_time() < until:
                pass
        else:
            time.sleep(2 * STEP)  # noqa: ASYNC251  # this is what is to be found
        await trio.lowlevel.checkpoint()
    assert steps.longest >= 2 * STEP
    assert steps.whose.endswith(words)


@pytest.mark.slow
async def test_one_that_fails_and_one_that_is_cut_off_harm_no_other() -> None:
    async with open_services() as services:
        services.aura.replies.append(Answer([b"Error"], 500, reason="Internal Server Error"))
        services.vitalentum.replies.append(Answer([b'data: {"choices":[{"delta":{"content":"H"}}]}\n\n', None]))
        services.hang("koala")
        run = await fanout.ask("Why?", Race(*services.lanes()), retries=0)
        assert run.winner and run.winner.lane in ("huggingchat", "hailuo")
        await fanout.ask("Why?", All(*services.lanes("huggingchat", "hailuo")))


@pytest.mark.slow
async def test_without_a_login_two_say_what_to_type_and_the_others_answer() -> None:
    async with open_services(logged_in=False) as services:
        async with fanout.open_fanout("Why?", All(*services.lanes())) as running_:
            needed = {t.lane: t.event.command async for t in running_ if isinstance(t.event, LoginNeeded)}
        run = running_.run
    urls = {"huggingchat": services.huggingchat.base_url, "hailuo": services.hailuo.url}
    assert needed == {name: f"fanout login {name} --base-url {url}" for name, url in urls.items()}
    assert all(isinstance(run[lane].error, LoginRequired) for lane in needed)
    assert [answer.lane for answer in run.answers if answer.status is Status.FINISHED] == list(NAMES[2:])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "secret"), [("huggingchat", f"hf-chat={CANARY}"), ("hailuo", CANARY)])
async def test_the_import_that_is_advised_is_what_the_lane_finds(name: str, secret: str) -> None:
    async with open_services(logged_in=False) as services:
        services.huggingchat.sessions[CANARY] = "user-1"
        lane, env = services.lanes(name), {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}
        refused = await command("race", "-m", *lane, "hi", env=env)
        assert refused.code == 1
        (advised,) = re.findall("`fanout (auth import [^`]*)`", refused.err)
        stored = await command(*shlex.split(advised), stdin=secret.encode(), env=env)
        assert stored.code == 0
        answered = await command("race", "-q", "-m", *lane, "hi", env=env)
        assert (answered.code, answered.err) == (0, "")
        assert (await fanout.ask("Why?", lane))[name].status is Status.FINISHED


@pytest.mark.slow
async def test_a_login_that_is_refused_gives_way_to_one_that_was_stored_meanwhile() -> None:
    async with open_services() as services:
        found = catalog.find(services.lanes("hailuo")[0])
        services.hailuo.accounts = {f"{CANARY}-new": Account()}
        store.save(Credentials("hailuo", services.hailuo.url, secrets={"token": Secret(f"{CANARY}-new")}))
        answer = await fanout.race("Why?", found)
        assert answer.text == "A whale sings 🐳"
        assert store.load("hailuo", services.hailuo.url) is not None


@pytest.mark.slow
async def test_a_login_that_the_service_does_not_know_any_more_is_deleted() -> None:
    async with open_services() as services:
        services.hailuo.accounts = {}
        run = await fanout.ask("Why?", services.lanes("hailuo"))
        assert isinstance(run["hailuo"].error, LoginRequired)
        assert store.load("hailuo", services.hailuo.url) is None


@pytest.mark.slow
async def test_conversations_go_on_at_the_services_that_keep_them() -> None:
    async with open_services() as services:
        plan = All(*services.lanes())
        first = await fanout.ask("One?", plan)
        assert {a.lane for a in first.answers if a.conversation} == {"huggingchat", "hailuo", "koala"}
        second = await fanout.ask("Two?", plan, conversation=first.conversation)
        assert {answer.status for answer in second.answers} == {Status.FINISHED}
        (chats,) = [account.chats for account in services.hailuo.accounts.values()]
        assert list(chats.values()) == [["One?", "Two?"]]
        assert [sent["inputs"] for sent in services.huggingchat.sent] == ["One?", "Two?"]
        assert len(services.huggingchat.talks) == 1
        assert services.koala.bodies[1]["inputHistory"] == ["One?"]
        assert len(services.vitalentum.histories[1]) == 3
        assert len(services.aura.bodies[1]["messages"]) == 3
        assert CANARY not in json.dumps(second.conversation.to_json() if second.conversation else "")


@pytest.mark.slow
async def test_another_account_starts_anew_from_what_was_said() -> None:
    async with open_services() as services:
        lanes = services.lanes("huggingchat", "hailuo")
        first = await fanout.ask("One?", All(*lanes))
        services.hailuo.accounts[f"{CANARY}-other"] = Account()
        store.save(Credentials("hailuo", services.hailuo.url, secrets={"token": Secret(f"{CANARY}-other")}))
        services.huggingchat.sessions["other"] = "user-2"
        store.save(Credentials("huggingchat", services.huggingchat.base_url, {"hf-chat": Secret("other")}))
        second = await fanout.ask("Two?", All(*lanes), conversation=first.conversation)
        assert {answer.status for answer in second.answers} == {Status.FINISHED}
        (anew,) = services.hailuo.accounts[f"{CANARY}-other"].chats.values()
        assert anew == ["User: One?\nAssistant: A whale sings 🐳\nUser: Two?\nAssistant:"]
        assert services.huggingchat.sent[1]["inputs"].startswith("User: One?\nAssistant: Hello there\nUser: Two?")
        assert len(services.huggingchat.talks) == 2


@pytest.mark.slow
async def test_another_address_starts_anew_and_is_sent_no_login() -> None:
    async with open_services() as services, open_services(logged_in=False) as others:
        first = await fanout.ask("One?", All(*services.lanes("koala", "hailuo")))
        second = await fanout.ask("Two?", All(*others.lanes("koala", "hailuo")), conversation=first.conversation)
        assert isinstance(second["hailuo"].error, LoginRequired)
        assert second["koala"].status is Status.FINISHED
        (request,) = others.koala.requests
        assert request.headers["visitor-id"] != services.koala.requests[0].headers["visitor-id"]
        assert not others.hailuo.requests
        assert isinstance(first["hailuo"].conversation, Conversation)


# What is off, and how it is switched on.


@pytest.mark.parametrize("name", NAMES)
def test_each_is_off_until_it_is_switched_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="the site's terms apply") as caught:
        catalog.find(name)
    assert f"FANOUT_UNOFFICIAL={name}" in str(caught.value)
    assert f'unofficial = ["{name}"]' in str(caught.value)
    on = Config(defaults=DefaultsTable(unofficial=["other", name]))
    assert catalog.find(name, on).provider.name == name
    monkeypatch.setenv("FANOUT_UNOFFICIAL", f"other, {name} ")
    assert catalog.find(name).provider.name == name


@pytest.mark.slow
async def test_the_command_says_how_to_switch_one_on(tmp_path: Path) -> None:
    done = await command("race", "-m", "koala", "hi")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "FANOUT_UNOFFICIAL=koala" in done.err
    (tmp_path / "fanout.toml").write_text('[defaults]\nunofficial = ["koala"]\n')
    async with open_services() as services:
        done = await command("race", "--plain", "-m", *services.lanes("koala"), "hi")
    assert (done.code, done.out) == (0, 'Hello "you"\n')


def test_a_password_in_the_address_and_a_login_in_clear_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no user or password"):
        catalog.find("koala?base_url=https://me:pw@koala.sh")
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_BASE_URL", "http://chat.example.org")
    catalog.find("huggingchat")  # as long as there is no login, none goes there in clear
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_COOKIE", "hf-chat=canary-cookie")
    with pytest.raises(UsageError, match="the login in clear"):
        catalog.find("huggingchat")


@pytest.mark.slow
@pytest.mark.parametrize("data", ["{", "[]", '{"version": 99}'])
async def test_a_damaged_login_stops_its_own_lane_alone(data: str) -> None:
    async with open_services() as services:
        file = store.directory() / store.name_of("huggingchat", services.huggingchat.base_url)
        file.write_text(data)
        well = services.openai.lane("well", say="Blue.")
        run = await fanout.ask("Why?", All(*services.lanes("huggingchat"), well))
    broken, other = run.answers
    assert isinstance(broken.error, LoginRequired)
    assert str(file) in broken.error.message
    assert broken.error.command == f"fanout login huggingchat --base-url {services.huggingchat.base_url}"
    assert other.text == "Blue."


# What must not be seen.


@pytest.mark.slow
@pytest.mark.parametrize("output", ["--json", "--jsonl", "--plain", "--markdown", None])
async def test_no_secret_is_in_what_the_command_prints(output: str | None) -> None:
    async with open_services() as services:
        echo = f'{{"error":{{"message":"You sent {CANARY} and {CANARY}-session"}}}}'.encode()
        services.koala.replies.append(Answer([echo], 500, {"content-type": "application/json"}))
        services.hailuo.replies.append(Answer([hailuo.failure(7, f"token {CANARY} is limited")], headers=EVENTS))
        services.huggingchat.refusals.append(
            ("send", huggingchat.Refusal(500, {"message": f"hf-chat={CANARY}-session is broken"}))
        )
        lanes = [argument for lane in services.lanes("hailuo", "huggingchat", "aura") for argument in ("-m", lane)]
        arguments = [*lanes, "--retries", "0", *([output] if output else []), "hi"]
        done = await command("compare", *arguments, env={"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]})
    assert done.code == 0
    assert "Mademoiserie" in done.out
    assert CANARY not in done.out + done.err
    assert "***" in done.out + done.err


@pytest.mark.slow
def test_lanes_with_a_key_import_no_browser_and_no_cookie_reader() -> None:
    code = """
import sys, trio, fanout
from fanout.transports.memory import MemoryTransport
lines = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\\n\\ndata: [DONE]\\n\\n'
answer = trio.run(fanout.race, "?", ["openai/m?key_env=&base_url=http://127.0.0.1:1/v1"], {})
"""
    code = code.replace("trio.run(fanout.race, ", "trio.run(lambda: fanout.race(").replace(
        ", {})", ", transport=MemoryTransport({'127.0.0.1': [lines]})))"
    )
    code += "print(answer.text, *sorted({'nodriver', 'yt_dlp', 'fanout.login.logins', 'cattrs'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "x"


@pytest.mark.slow
async def test_a_race_of_all_five_imports_no_browser_either() -> None:
    async with open_services() as services:
        code = f"""
import sys, trio, fanout
run = trio.run(lambda: fanout.ask("?", fanout.All(*{services.lanes()!r})))
assert all(answer.text for answer in run.answers), run
print(*sorted({{'nodriver', 'yt_dlp'}} & set(sys.modules)))
"""
        done = await trio.run_process([sys.executable, "-c", code], capture_stdout=True)
    assert done.stdout.strip() == b""
