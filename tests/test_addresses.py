"""Where a lane's key goes: to its own service, and elsewhere only on the word of somebody who is trusted."""

from pathlib import Path
from typing import Any

import pytest

from fanout import catalog
from fanout.abc import Policy
from fanout.addresses import checked, is_own, is_public
from fanout.catalog import LaneSpec
from fanout.config import Config, load
from fanout.entries import entries
from fanout.errors import UsageError
from fanout.prompt import Prompt
from fanout.secret import Secret
from tests.cli.command import fanout as command
from tests.servers.openai import open_server

ELSEWHERE = "https://gateway.example.org/v1"
HERE = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "AZURE_OPENAI_ENDPOINT", "FANOUT_TRUST_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"OPENAI_API_KEY": "sk-1", "GROQ_API_KEY": "gsk-1", "MINE": "m-1", "OTHER": "o-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")


def configured(directory: Path, project: str = "", user: str = "") -> Config:
    for name, text in (("project", project), ("user", user)):
        (directory / name).mkdir()
        (directory / name / "fanout.toml").write_text(text, "utf-8")
    return load(directory / "project", directory / "user")


def key(spec: str, config: Config | None = None) -> Any:
    found: Any = catalog.find(spec, config or Config()).provider
    return found.key


def lanes(found: LaneSpec | Policy) -> list[Any]:
    return list(found.lanes) if isinstance(found, Policy) else [found]


@pytest.mark.parametrize(
    "url", [ELSEWHERE, HERE, "https://api.groq.com.example.org/openai/v1", "https://api.groq.com:444/"]
)
def test_to_another_address_no_key_goes_and_none_is_needed(url: str) -> None:
    found: Any = catalog.find(f"groq/m?base_url={url}")
    assert (found.provider.key, found.provider.needs_key, found.spares) == (None, False, ())
    assert "authorization" not in found.provider.request(Prompt.of("?")).headers


def test_to_another_address_neither_organization_nor_project_goes_without_a_key() -> None:
    assert "openai-organization" in catalog.find("openai/m").provider.request(Prompt.of("?")).headers
    elsewhere = catalog.find(f"openai/m?base_url={ELSEWHERE}").provider.request(Prompt.of("?"))
    assert "openai-organization" not in elsewhere.headers


def test_key_env_sends_a_key_to_another_address() -> None:
    assert key(f"groq/m?base_url={ELSEWHERE}&key_env=GROQ_API_KEY") == Secret("gsk-1")
    assert key(f"groq/m?key_env=MINE&base_url={ELSEWHERE}") == Secret("m-1")


@pytest.mark.parametrize("url", ["https://api.groq.com/openai/v1", "https://API.groq.com:443/openai/v1/"])
def test_the_services_own_address_may_be_written_out(url: str) -> None:
    assert key(f"groq/m?base_url={url}") == Secret("gsk-1")


def test_the_providers_variable_for_its_address_is_the_users_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", ELSEWHERE)
    assert key("openai/m") == Secret("sk-1")
    assert key(f"openai/m?base_url={ELSEWHERE}/") == Secret("sk-1")
    assert key("openai/m?base_url=https://gateway.example.org/others") is None
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.example.org")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "az-1")
    assert key("azure/m") == Secret("az-1")


def test_an_address_that_is_not_known_yet_is_nobodys_own() -> None:
    assert not is_own(entries()["azure"], ELSEWHERE)


@pytest.mark.parametrize("bad", ["http://[", "https://x.test:y/v1"])
def test_what_the_environment_says_wrongly_is_no_address(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", bad)
    assert key(f"openai/m?base_url={ELSEWHERE}") is None
    with pytest.raises(UsageError, match="base_url"):
        catalog.find("openai/m")


@pytest.mark.parametrize(
    "url", ["https://me:pw-1@x.test:y/v1", "https://me:pw-1@[x/v1", "https://me:pw-1@x.test/v1", "https:/\t/me:pw-1@x"]
)
def test_a_password_in_an_address_is_repeated_in_no_error(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked(url)
    assert "pw-1" not in str(caught.value)


def test_an_address_given_anew_leaves_the_key_of_the_one_before_behind(tmp_path: Path) -> None:
    mine = f'[lanes.mine]\nspec = "openai/m"\nbase_url = "{ELSEWHERE}"\nkey_env = "MINE"'
    whole = f'[lanes.whole]\nspec = "openai/m?key_env=MINE"\nbase_url = "{ELSEWHERE}"'
    config = configured(tmp_path, user=f"{mine}\n{whole}")
    assert key("mine", config) == key("whole", config) == Secret("m-1")
    assert key(f"mine?base_url={ELSEWHERE}", config) == Secret("m-1")
    assert key("mine?base_url=https://third.example.org/v1", config) is None
    assert key("mine?base_url=https://third.example.org/v1&key_env=OTHER", config) == Secret("o-1")


ATTACKS = {
    "a table": f'[lanes.a]\nspec = "groq/m"\nbase_url = "{ELSEWHERE}"\nkey_env = "GROQ_API_KEY"',
    "a spec": f'[lanes.a]\nspec = "groq/m?base_url={ELSEWHERE}&key_env=GROQ_API_KEY"',
    "a group": f'[groups.a]\npolicy = "all"\nlanes = ["groq/m?base_url={ELSEWHERE}&key_env=GROQ_API_KEY"]',
    "a group's group": '[groups.a]\npolicy = "all"\nlanes = ["b"]\n'
    f'[groups.b]\npolicy = "all"\nlanes = ["groq/m?base_url={ELSEWHERE}&key_env=GROQ_API_KEY"]',
    "the user's key": f'[lanes.a]\nspec = "keyed?base_url={ELSEWHERE}&key_env=GROQ_API_KEY"',
    "the user's address": '[lanes.a]\nspec = "moved"\nkey_env = "GROQ_API_KEY"',
    "what a user's lane is made of": f'[lanes.base]\nspec = "groq/m"\nbase_url = "{ELSEWHERE}"',
}
USER = """
[lanes.keyed]
spec = "groq/m"
key_env = "GROQ_API_KEY"
[lanes.moved]
spec = "groq/m"
base_url = "https://gateway.example.org/v1"
[lanes.made]
spec = "base"
key_env = "GROQ_API_KEY"
[lanes.base]
spec = "groq/m"
"""


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_file_in_the_current_directory_sends_no_key_to_another_address(
    attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(tmp_path, ATTACKS[attack], USER)
    name = "made" if "made of" in attack else "a"
    with pytest.raises(UsageError) as caught:
        catalog.resolve(name, config)
    said = str(caught.value)
    assert str(tmp_path / "project" / "fanout.toml") in said
    assert "GROQ_API_KEY" in said
    assert "gateway.example.org" in said
    assert "FANOUT_TRUST_PROJECT=1" in said
    assert "gsk-1" not in said
    monkeypatch.setenv("FANOUT_TRUST_PROJECT", "1")
    trusted = load(tmp_path / "project", tmp_path / "user")
    assert lanes(catalog.resolve(name, trusted))


@pytest.mark.parametrize(
    "text",
    [
        '[lanes.a]\nspec = "groq/m"\nkey_env = "MINE"',
        '[lanes.a]\nspec = "groq/m?key_env=OPENAI_API_KEY"',
        f'[lanes.a]\nspec = "openai/m"\nbase_url = "{HERE}"\nkey_env = "MINE"',
    ],
)
def test_a_file_in_the_current_directory_names_no_variable_but_the_providers_own(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"(MINE|OPENAI_API_KEY), which is not one of (groq|openai)'s variables"):
        catalog.find("a", configured(tmp_path, text))


def test_a_file_in_the_current_directory_may_do_all_that_gives_no_key_away(tmp_path: Path) -> None:
    text = f"""
    [lanes.none]
    spec = "openai/m"
    base_url = "{ELSEWHERE}"
    [lanes.here]
    spec = "openai/m"
    base_url = "{HERE}"
    key_env = "OPENAI_API_KEY"
    [lanes.own]
    spec = "openai/m?key_env=OPENAI_API_KEY"
    [lanes.users]
    spec = "mine"
    first = 3
    """
    user = f'[lanes.mine]\nspec = "openai/m"\nbase_url = "{ELSEWHERE}"\nkey_env = "MINE"'
    config = configured(tmp_path, text, user)
    assert key("none", config) is None
    assert key("here", config) == key("own", config) == Secret("sk-1")
    assert key("users", config) == key("mine", config) == Secret("m-1")
    assert key(f"openai/m?base_url={ELSEWHERE}&key_env=MINE", config) == Secret("m-1")


def test_in_the_users_own_directory_the_file_is_the_users(tmp_path: Path) -> None:
    (tmp_path / "fanout.toml").write_text(ATTACKS["a table"])
    assert key("a", load(tmp_path, tmp_path)) == Secret("gsk-1")


@pytest.mark.parametrize("name", ["local", "groq", "groq/m", "groq:m", "koala"])
@pytest.mark.parametrize("table", ["lanes", "groups"])
def test_a_file_in_the_current_directory_gives_no_providers_name_another_meaning(
    tmp_path: Path, name: str, table: str
) -> None:
    what = 'spec = "openai/m"' if table == "lanes" else 'policy = "race"\nlanes = ["openai/m"]'
    text = f'[{table}."{name}"]\n{what}'
    with pytest.raises(UsageError, match=rf"{table}.*'{name}'.*another name") as caught:
        configured(tmp_path, project=text)
    assert str(tmp_path / "project" / "fanout.toml") in str(caught.value)
    (tmp_path / "project" / "fanout.toml").write_text("")
    (tmp_path / "user" / "fanout.toml").write_text(text)
    config = load(tmp_path / "project", tmp_path / "user")
    assert name in {**config.lanes, **config.groups}


def test_an_address_is_https_or_on_this_machine_and_without_a_password() -> None:
    assert checked(HERE) == HERE
    assert checked("http://[::1]:80/v1") == "http://[::1]:80/v1"
    with pytest.raises(UsageError, match="in clear"):
        checked("http://127.0.0.1.example.org/v1")
    with pytest.raises(UsageError, match="no user or password"):
        checked("http://127.0.0.1:80@example.org/v1")
    with pytest.raises(UsageError, match="Port"):
        checked("http://127.0.0.1:x/v1")


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.0.0.1.", "127.1", "2130706433", "0x7f000001"),
        *("0x7f.0.0.1", "0177.0.0.1", "1.2.3.0x4", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "ff02::1", "%31%32%37.0.0.1", "127。0。0。1", "", ".", "a..b", "a b"),
    ],
)
def test_an_address_of_this_machine_or_its_network_is_not_public(host: str) -> None:
    assert not is_public(host)


@pytest.mark.parametrize(
    "host", ["x.test", "Files.Example.org", "a.example.org.", "1.example", "8.8.8.8", "2606:4700::1"]
)
def test_names_and_addresses_of_the_world_are(host: str) -> None:
    assert is_public(host)


@pytest.mark.slow
async def test_a_server_that_wants_a_key_hears_of_none_and_the_user_of_key_env() -> None:
    async with open_server() as server:
        env = {"OPENAI_API_KEY": "canary"}
        lane = server.lane("a", status=401).removesuffix("&key_env=")
        asked = await command("race", "-m", lane, "--retries", "0", "hi", env=env)
        named = await command("race", "-m", f"{lane}&key_env=OPENAI_API_KEY", "--retries", "0", "hi", env=env)
    sent = ["authorization" in served.request.headers for served in server.served]
    assert (asked.code, named.code, sent) == (1, 1, [False, True])
    assert "a lane with a base_url of its own names it with key_env" in asked.err
    assert "canary" not in asked.err + named.err


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["race", "bench"])
async def test_in_somebody_else_s_directory_the_command_says_what_the_file_would_do(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fanout.toml").write_text(ATTACKS["a table"])
    monkeypatch.chdir(tmp_path)
    prompt = ["hi"] if verb == "race" else ["-n", "1", "--no-save"]
    done = await command(verb, "-m", "a", *prompt, env={"GROQ_API_KEY": "canary"})
    assert (done.code, done.out) == (2, "")
    assert "fanout.toml sends GROQ_API_KEY to gateway.example.org, which is not groq's own address" in done.err
    assert "canary" not in done.err
