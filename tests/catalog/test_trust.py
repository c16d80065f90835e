"""A lane's key goes to its own service, and elsewhere only on the word of somebody who is trusted."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from fanout import catalog
from fanout.abc import Policy
from fanout.addresses.proxy import as_proxy
from fanout.catalog import LaneSpec
from fanout.catalog.config import Config, load
from fanout.catalog.entries import entries
from fanout.catalog.meaning import check_meanings, find_meanings
from fanout.catalog.trust import is_elsewhere, is_own
from fanout.credentials.secret import Secret
from fanout.errors import UsageError
from fanout.prompt import Prompt
from tests.addresses.test_addresses import OLLAMA_HOSTS
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
        (directory / name).mkdir(parents=True)
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
    [lanes.own]
    spec = "openai/m?key_env=OPENAI_API_KEY"
    [lanes.users]
    spec = "mine"
    first = 3
    """
    user = f'[lanes.mine]\nspec = "openai/m"\nbase_url = "{ELSEWHERE}"\nkey_env = "MINE"'
    config = configured(tmp_path, text, user)
    assert key("none", config) is None
    assert key("own", config) == Secret("sk-1")
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


@pytest.mark.parametrize("text", OLLAMA_HOSTS)
def test_ollamas_variable_holds_a_host(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", text)
    found: Any = catalog.find("ollama/m").provider
    assert found.base_url == OLLAMA_HOSTS[text]


@pytest.mark.parametrize("text", ["", "  ", '""', " '' "])
def test_a_blank_variable_is_not_set(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", text)
    found: Any = catalog.find("ollama/m").provider
    assert found.base_url == "http://127.0.0.1:11434"


@pytest.mark.parametrize(
    "text", ["me:pw-1@example.com", "http://me:pw-1@example.com", "unix:///run/x", "a b", "http://[1"]
)
def test_what_is_no_address_in_ollamas_variable_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", text)
    with pytest.raises(UsageError, match=r"base_url|base URL") as caught:
        catalog.find("ollama/m")
    assert "pw-1" not in str(caught.value)


def test_ollamas_key_goes_to_its_cloud_and_where_the_lane_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    monkeypatch.setenv("OLLAMA_API_KEY", "canary")
    for spec, sent in {
        "ollama/m": None,
        "ollama/m?base_url=http://10.0.0.5:11434": None,
        "ollama/m?base_url=https://ollama.com&key_env=OLLAMA_API_KEY": "Bearer canary",
        "ollama/m?base_url=http://10.0.0.5:11434&key_env=OLLAMA_API_KEY": "Bearer canary",
        "ollama-cloud/m": "Bearer canary",
        "ollama-cloud/m?base_url=http://127.0.0.1:1": None,
    }.items():
        assert catalog.find(spec).provider.request(Prompt.of("?")).plain_headers().get("authorization") == sent
    with pytest.raises(UsageError, match="the key in OLLAMA_API_KEY in clear"):
        catalog.find("ollama/m?base_url=http://ollama.com&key_env=OLLAMA_API_KEY")


PUBLIC = "http://gateway.example.org/v1"


@pytest.mark.parametrize(
    "url", [PUBLIC, "http://8.8.8.8:11434", "http://10.0.0.5:11434", "http://ollama:11434", "http://gpu.local:8000/v1"]
)
@pytest.mark.parametrize("provider", ["openai", "ollama", "vllm", "llamacpp", "huggingchat"])
def test_where_no_credential_goes_plain_http_may_go_anywhere(provider: str, url: str) -> None:
    found: Any = catalog.find(f"{provider}/m?base_url={url}").provider
    assert found.base_url == url


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]:80", "10.0.0.5:8000", "ollama:11434", "gpu.local.", "[fe80::1]"])
def test_on_a_private_network_a_key_goes_over_plain_http(host: str) -> None:
    assert key(f"openai/m?base_url=http://{host}/v1&key_env=MINE") == Secret("m-1")


@pytest.mark.parametrize("host", ["example.org", "8.8.8.8", "100.64.0.1", "127.0.0.1.example.org", "134744072", "ai."])
def test_elsewhere_a_key_goes_over_plain_http_only_on_the_users_word(host: str, tmp_path: Path) -> None:
    lane = f"openai/m?base_url=http://{host}/v1&key_env=MINE"
    with pytest.raises(UsageError, match=r"the key in MINE in clear.*use https.*insecure=true") as caught:
        catalog.find(lane)
    assert "m-1" not in str(caught.value)
    with pytest.raises(UsageError, match="in clear"):
        catalog.find(f"{lane}&insecure=false")
    assert key(f"{lane}&insecure=true") == Secret("m-1")
    user = f'[lanes.a]\nspec = "openai/m"\nbase_url = "http://{host}/v1"\nkey_env = "MINE"\ninsecure = true'
    assert key("a", configured(tmp_path, user=user)) == Secret("m-1")


def test_a_variable_that_is_not_set_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINE")
    assert key(f"openai/m?base_url={PUBLIC}&key_env=MINE") is None


def test_the_words_for_one_address_do_not_hold_for_another(tmp_path: Path) -> None:
    user = f'[lanes.a]\nspec = "openai/m"\nbase_url = "{PUBLIC}"\nkey_env = "MINE"\ninsecure = true'
    config = configured(tmp_path, user=user)
    with pytest.raises(UsageError, match="in clear"):
        catalog.find("a?base_url=http://third.example.org/v1&key_env=MINE", config)
    assert key("a?base_url=http://third.example.org/v1&key_env=MINE&insecure=true", config) == Secret("m-1")


@pytest.mark.parametrize(
    ("variable", "spec", "text"),
    [
        ("FANOUT_HUGGINGCHAT", "huggingchat", "hf-chat=canary-cookie; token=canary-cookie"),
        ("FANOUT_HAILUO", "hailuo", "canary-cookie"),
        ("FANOUT_AURA", "aura", "cf_clearance=canary-cookie"),
    ],
)
def test_a_login_is_a_credential(variable: str, spec: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{variable}_TOKEN" if spec == "hailuo" else f"{variable}_COOKIE"
    monkeypatch.setenv(name, text)
    monkeypatch.setenv(f"{variable}_BASE_URL", "http://chat.example.org")
    with pytest.raises(UsageError, match=r"the login in clear.*use https") as caught:
        catalog.find(spec)
    assert "canary-cookie" not in str(caught.value)
    assert "key" not in str(caught.value)
    found: Any = catalog.find(f"{spec}?insecure=true").provider
    assert found.credentials
    monkeypatch.setenv(f"{variable}_BASE_URL", "http://10.0.0.5:3000")
    found = catalog.find(spec).provider
    assert found.credentials


@pytest.mark.parametrize("setting", ["insecure = true", 'proxy = "http://evil.example.org:3128"', 'proxy = "none"'])
@pytest.mark.parametrize("where", ["table", "spec", "group", "user's lane"])
def test_a_file_in_the_current_directory_sets_neither_proxy_nor_insecure(
    setting: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = setting.replace(" = ", "=").replace('"', "")
    text = {
        "table": f'[lanes.a]\nspec = "openai/m"\n{setting}',
        "spec": f'[lanes.a]\nspec = "openai/m?{option}"',
        "group": f'[groups.a]\npolicy = "all"\nlanes = ["openai/m?{option}"]',
        "user's lane": f'[lanes.a]\nspec = "mine"\n{setting}',
    }[where]
    user = '[lanes.mine]\nspec = "openai/m"'
    config = configured(tmp_path, text, user)
    with pytest.raises(UsageError, match=f"sets {setting.partition(' ')[0]}.*FANOUT_TRUST_PROJECT=1") as caught:
        catalog.resolve("a", config)
    assert str(tmp_path / "project" / "fanout.toml") in str(caught.value)
    monkeypatch.setenv("FANOUT_TRUST_PROJECT", "1")
    assert lanes(catalog.resolve("a", load(tmp_path / "project", tmp_path / "user")))


@pytest.mark.parametrize(
    "proxy",
    [
        *("http://proxy:3128", "https://proxy.example.org", "socks5://127.0.0.1:1080", "socks5h://[::1]:1080", "none"),
        *("http://me:pw-1@proxy:3128", "HTTP://proxy:3128", "http://proxy:3128/"),
    ],
)
def test_a_lane_may_have_a_proxy_of_its_own(proxy: str, tmp_path: Path) -> None:
    found = catalog.find(f"openai/m?proxy={quote(proxy, safe='')}")
    assert found.proxy == as_proxy(proxy)
    assert "pw-1" not in repr(found)
    config = configured(tmp_path, user=f'[lanes.a]\nspec = "openai/m"\nproxy = "{proxy}"')
    assert catalog.find("a", config).proxy == as_proxy(proxy)
    assert catalog.find("openai/m").proxy is None


@pytest.mark.parametrize(
    "proxy",
    [
        *("proxy:3128", "me:pw-1@proxy:3128", "ftp://me:pw-1@proxy", "socks4://proxy", "http://", "http://me:pw-1@"),
        *("http://me:pw-1@proxy:x", "http://me:pw-1", "http://me:pw-1@[x", "http://proxy/path/pw-1", "http://a b:1"),
        *("http://proxy?x=pw-1", "http:proxy", "socks5h://proxy:0x50", "direct", "http://proxy:70000", "http://p\n:1"),
    ],
)
def test_what_is_no_proxy_is_refused_and_not_repeated(proxy: str, tmp_path: Path) -> None:
    config = configured(tmp_path, user="")
    (tmp_path / "user" / "fanout.toml").write_text(f'[lanes.a]\nspec = "openai/m"\nproxy = {json.dumps(proxy)}')
    with pytest.raises(UsageError, match=r"proxy takes http://.*socks5h://.*or none") as typed:
        catalog.find(f"openai/m?proxy={quote(proxy, safe='')}", config)
    with pytest.raises(UsageError, match=r"proxy takes http://.*socks5h://.*or none") as written:
        catalog.find("a", load(tmp_path / "project", tmp_path / "user"))
    for caught in (typed, written):
        assert "pw-1" not in str(caught.value)


@pytest.mark.parametrize("mistake", ["temprature=0", "seed=x", "model"])
@pytest.mark.parametrize("quoted", [False, True])
def test_a_mistake_in_a_spec_repeats_no_password_of_its_addresses(mistake: str, quoted: bool) -> None:
    for option in ("proxy=http://me:pw-1@proxy:1", "base_url=https://me:pw-1@x.test", "proxy=me:pw-1"):
        name, _, value = option.partition("=")
        text = f"{name}={quote(value, safe='')}" if quoted else option
        with pytest.raises(UsageError) as caught:
            catalog.find(f"mistral?{text}" if mistake == "model" else f"openai/m?{text}&{mistake}")
        assert "pw-1" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["http://proxy.example.org:3128", "socks5://8.8.8.8:1080"])
def test_a_proxy_elsewhere_sees_what_goes_in_clear(proxy: str) -> None:
    lane = f"openai/m?base_url=http://10.0.0.5/v1&key_env=MINE&proxy={proxy}"
    with pytest.raises(UsageError, match="in clear"):
        catalog.find(lane)
    assert key(f"{lane}&insecure=true") == Secret("m-1")
    assert key("openai/m?base_url=http://10.0.0.5/v1&key_env=MINE&proxy=http://proxy:3128") == Secret("m-1")
    assert key(f"openai/m?proxy={proxy}") == Secret("sk-1")


@pytest.mark.parametrize(
    ("wrong", "right"), [("proxi=none", "proxy"), ("insecur=true", "insecure"), ("max-tokens=1", "max_tokens")]
)
def test_a_mistyped_option_of_a_spec_is_named_with_the_right_one(wrong: str, right: str) -> None:
    with pytest.raises(UsageError, match=f"there is no option '{wrong.partition('=')[0]}'; did you mean {right}"):
        catalog.find(f"openai/m?{wrong}")


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


USERS = '[lanes.work]\nspec = "openai/m"\n[groups.both]\npolicy = "all"\nlanes = ["work", "absent?seed=1"]'
THEIRS = f'base_url = "{HERE}"\nkey_env = ""'
TAKEN = {
    "a lane": ("work", f'[lanes.work]\nspec = "openai/m"\n{THEIRS}'),
    "a lane, with options": ("x=work?seed=1", f'[lanes.work]\nspec = "openai/m"\n{THEIRS}'),
    "a group in place of a lane": ("work", f'[groups.work]\npolicy = "all"\nlanes = ["openai/m?base_url={HERE}"]'),
    "a lane of a group": ("both", f'[lanes.work]\nspec = "openai/m"\n{THEIRS}'),
    "a lane that a group misses": ("both", f'[lanes.absent]\nspec = "openai/m"\n{THEIRS}'),
    "a group": ("both", f'[groups.both]\npolicy = "all"\nlanes = ["openai/m?base_url={HERE}"]'),
    "by another name": ("b", f'[lanes.b]\nspec = "work"\n[lanes.work]\nspec = "openai/m"\n{THEIRS}'),
}


@pytest.mark.parametrize("attack", TAKEN)
def test_a_file_in_the_current_directory_gives_no_name_of_the_users_another_meaning(
    attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, text = TAKEN[attack]
    with pytest.raises(UsageError, match=r"has a meaning in your own .*FANOUT_TRUST_PROJECT=1"):
        catalog.resolve(name, configured(tmp_path, text + '\n[lanes.other]\nspec = "openai/m"', USERS))
    assert catalog.resolve("other", load(tmp_path / "project", tmp_path / "user"))
    monkeypatch.setenv("FANOUT_TRUST_PROJECT", "1")
    if "absent" in text or name != "both":
        assert lanes(catalog.resolve(name, load(tmp_path / "project", tmp_path / "user")))


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost:11434", "[::1]:80"])
def test_a_file_in_the_current_directory_sends_no_key_to_a_port_of_this_machine_either(
    host: str, tmp_path: Path
) -> None:
    text = f'[lanes.here]\nspec = "openai/m"\nbase_url = "http://{host}/v1"\nkey_env = "OPENAI_API_KEY"'
    with pytest.raises(UsageError, match=r"sends OPENAI_API_KEY to .*which is not openai's own address"):
        catalog.resolve("here", configured(tmp_path, text))


def test_a_conversation_goes_on_with_the_services_that_had_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (f'[lanes.work]\nspec = "openai/m?base_url=https://{host}/v1"' for host in ("a.test", "b.test"))
    before = find_meanings(["work?seed=1", "openai/m"], configured(tmp_path / "1", one))
    assert before == {"work": ["openai at https://a.test/v1"]}
    check_meanings(["work", "openai/m"], configured(tmp_path / "2", one), before)
    check_meanings(["openai/m"], configured(tmp_path / "3", other), {})
    check_meanings(["work"], configured(tmp_path / "4", user=other), before)
    elsewhere = configured(tmp_path / "5", other)
    for earlier in (before, {}):
        with pytest.raises(UsageError, match=r"would get the last conversation by the name 'work', .*b.test.*TRUST"):
            check_meanings(["x=work?seed=2"], elsewhere, earlier)
    monkeypatch.setenv("FANOUT_TRUST_PROJECT", "1")
    check_meanings(["work"], configured(tmp_path / "6", other), before)


@pytest.mark.parametrize(
    ("name", "url", "elsewhere"),
    [
        ("openai", "https://api.openai.com/v1", False),
        ("openai", "https://api.openai.com:443/v1/", False),
        ("openai", "http://127.0.0.1:8000/v1", True),
        ("openai", "https://gateway.example.org/v1", True),
        ("openai", "http://api.openai.com/v1", True),
        ("azure", "https://mine.openai.azure.com", False),
        ("azure", "http://10.0.0.1/v1", True),
        ("a-plug-in", "https://x.example.org", False),
    ],
)
def test_only_a_providers_own_address_has_its_prices(name: str, url: str, elsewhere: bool) -> None:
    assert is_elsewhere(name, url) is elsewhere
