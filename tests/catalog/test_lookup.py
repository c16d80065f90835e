import re
from typing import Any

import pytest

import fanout
from fanout import catalog
from fanout.catalog.config import Config, LaneTable
from fanout.catalog.entries import Entry
from fanout.credentials.secret import Secret
from fanout.errors import UsageError
from fanout.prompt import Options, Prompt
from fanout.providers.openai import OpenAI
from fanout.settings.timeouts import Timeouts
from fanout.transports.memory import MemoryTransport


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in catalog.providers():
        for name in (*entry.keys, entry.base_url_env or "NONE", *re.findall(r"{(\w+)}", entry.base_url)):
            monkeypatch.delenv(name, raising=False)


def provider(spec: str) -> OpenAI:
    found = catalog.find(spec).provider
    assert isinstance(found, OpenAI)
    return found


@pytest.mark.parametrize("spec", ["groq/llama-3.3-70b", "groq:llama-3.3-70b"])
def test_a_spec_is_a_provider_and_a_model(spec: str) -> None:
    found = provider(spec)
    assert (found.name, found.model, found.base_url) == ("groq", "llama-3.3-70b", "https://api.groq.com/openai/v1")


def test_only_the_first_separator_splits() -> None:
    assert provider("huggingface/Qwen/QwQ-32B").model == "Qwen/QwQ-32B"
    assert provider("huggingface:Qwen/QwQ:32B").model == "Qwen/QwQ:32B"
    assert provider("openrouter/x/y:free").model == "x/y:free"


def test_a_spec_may_carry_a_label() -> None:
    assert catalog.find("openai/m").name == "openai/m"
    found = catalog.find("my-lane.2=openai/m=x?seed=1")
    assert (found.name, found.provider.model) == ("my-lane.2", "m=x")


def test_options_are_sorted_by_what_they_set() -> None:
    found = catalog.find(
        "openai/m?temperature=0&max_tokens=9&top_p=0.5&stop=a&stop=b&seed=3&reasoning=low&first=5&timeout=1m&idle=2000ms"
        "&connect=1&min_tps=3&retries=4&body.top_k=40&body.user=me&body.flags=%7B%22x%22%3A1%7D"
    )
    assert found.options == Options(
        max_tokens=9,
        temperature=0,
        top_p=0.5,
        stop=("a", "b"),
        seed=3,
        reasoning="low",
        body={"top_k": 40, "user": "me", "flags": {"x": 1}},
    )
    assert found.timeouts == Timeouts(connect=1, first=5, idle=2, total=60, min_tps=3)
    assert found.retries == 4


def test_the_embedded_model_needs_neither_model_nor_key_and_may_take_its_time() -> None:
    found = catalog.find("local")
    assert (found.name, found.provider.model, found.usual.first) == ("local", "smollm2", 120)
    assert found.provider.request(Prompt.of("hi")).url == "local://smollm2/v1/chat/completions"


@pytest.mark.parametrize("spec", ["local", "local/smollm2", "local:smollm2", "a=local", "local?temperature=0"])
def test_the_embedded_model_has_one_name(spec: str) -> None:
    assert catalog.find(spec).provider.model == "smollm2"


@pytest.mark.parametrize("spec", ["local/gpt2", "local:gpt2", "a=local/smollm2:latest?temperature=0"])
def test_no_other_model_is_taken_for_the_embedded_one(spec: str) -> None:
    with pytest.raises(UsageError, match=r"the embedded model is `local`, or local/smollm2; there is no other"):
        catalog.find(spec)


@pytest.mark.parametrize(
    "text",
    [
        "openai/a,anthropic/b",
        "openai/a, b=anthropic/b",
        "openai/a,elsewhere/b",
        "openai/a,local",
        "openai/a,mine",
        "local,openai/a",
        "openai/a?stop=1,anthropic/b",
        "openai/a?stop=1,x=mine?temperature=0",
    ],
)
def test_several_lanes_in_one_text_are_refused(text: str) -> None:
    config = Config(lanes={"mine": LaneTable("local")})
    with pytest.raises(UsageError, match=r"a comma opens another lane here; give a list of lanes"):
        catalog.resolve(text, config)


@pytest.mark.parametrize(
    "text",
    ["openai/a,b", "openai/a?stop=1,2", "openai/a?stop=x,%20https://x.test/y", 'openai/a?body.x={"a":1,"b/c":2}'],
)
def test_a_comma_that_opens_no_lane_is_part_of_a_name_or_value(text: str) -> None:
    assert isinstance(catalog.resolve(text), catalog.LaneSpec)


@pytest.mark.parametrize("spec", catalog.DEFAULT_LANES)
def test_the_default_lanes_are_good_specs(spec: str) -> None:
    assert catalog.find(spec).provider.name == "local"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("opnai/m", "there is no provider 'opnai'; did you mean openai"),
        (
            "gpt-5-mini",
            "which provider\\? gpt-5-mini is a model's name; write openai/gpt-5-mini or azure/gpt-5-mini or",
        ),
        ("gemin-2x", "there is no provider, lane or group 'gemin-2x'; a lane is PROVIDER/MODEL"),
        ("openai/m?base_url=http://127.0.0.1/v1,fast", "comma in the base_url; .* written %2C"),
        ("mine", "there is no provider, lane or group 'mine'; a lane is PROVIDER/MODEL, .* or a name in fanout.toml"),
        ("opena", "did you mean openai"),
        ("zzz/m", "`fanout providers` lists them all"),
        ("mistral", "which model\\? Write mistral/MODEL; `fanout models mistral`"),
        ("openai?base_url=http://127.0.0.1:1/v1", "which model\\? Write openai/MODEL"),
        ("openai/m?temprature=1", "there is no option 'temprature'; did you mean temperature"),
        ("openai/m?zzz=1", "body.NAME=JSON"),
        ("openai/m?temperature=warm", "temperature takes a number, not 'warm'"),
        ("openai/m?first=-1", "first takes a time such as 0.8, 800ms or off, not '-1'"),
        ("openai/m?first=0", "first takes a time"),
        ("openai/m?retries=-1", "retries takes a whole number from 0 on"),
        ("openai/m?concurrency=0", "concurrency takes a whole number from 1 on, not '0'"),
        ("openai/m?temperature=nan", "temperature takes a number, not 'nan'"),
        ("openai/m?top_p=inf", "top_p takes a number, not 'inf'"),
        (f"openai/m?seed={2**64}", "seed takes a whole number of at most 64 bits"),
        ("openai/m?min_tps=nan", "min_tps takes a rate from 0 on, not 'nan'"),
        ("openai/m?base_url=http://[", "base_url 'http://\\['"),
        ("openai/m?base_url=ftp://x", "http or https"),
        ("openai/m?base_url=http://:8000/v1", "http or https"),
        ("openai/m?base_url=https://me:pw@example.com/v1", "no user or password"),
        ("openai/m?temperature", "temperature has no value; an option is name=value"),
    ],
)
def test_a_mistake_is_named_with_the_nearest_right_thing(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        catalog.find(spec)


def test_a_key_comes_from_the_first_of_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert provider("perplexity/m").key is None
    monkeypatch.setenv("PERPLEXITY_API_KEY", "second")
    assert provider("perplexity/m").key == Secret("second")
    monkeypatch.setenv("PERPLEXITYAI_API_KEY", "canary")
    assert provider("perplexity/m").key == Secret("canary")
    assert "canary" not in repr(catalog.find("perplexity/m"))


def test_key_env_names_another_variable_and_empty_means_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "usual")
    monkeypatch.setenv("MY_KEY", "mine")
    assert provider("openai/m?key_env=MY_KEY").key == Secret("mine")
    none = provider("openai/m?key_env=&base_url=http://127.0.0.1:8000/v1")
    assert (none.key, none.needs_key) == (None, False)


def test_ollamas_variable_may_lack_the_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9999")
    found: Any = catalog.find("ollama/m").provider
    assert found.base_url == "http://127.0.0.1:9999"


def test_the_usual_variable_moves_the_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert provider("openai/m").base_url == "http://127.0.0.1:9/v1"
    assert provider("openai/m?base_url=http://localhost:1/v1").base_url == "http://localhost:1/v1"


def test_an_address_takes_what_is_missing_in_it_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc1")
    found = provider("cloudflare/@cf/meta/llama-3.1-8b-instruct")
    assert found.base_url == "https://api.cloudflare.com/client/v4/accounts/acc1/ai/v1"
    assert found.model == "@cf/meta/llama-3.1-8b-instruct"
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com/")
    assert provider("azure/chat").base_url == "https://mine.openai.azure.com/openai/v1"
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "canary")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "http://mine.openai.azure.com")
    with pytest.raises(UsageError, match="in clear"):
        provider("azure/chat")


def test_an_address_with_a_variable_that_is_not_set_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "canary")
    with pytest.raises(UsageError, match="cloudflare: where is it\\? Set CLOUDFLARE_ACCOUNT_ID, or give") as caught:
        provider("cloudflare/m")
    assert "canary" not in str(caught.value)
    assert provider("cloudflare/m?base_url=http://127.0.0.1:9/v1").base_url == "http://127.0.0.1:9/v1"
    assert not next(entry for entry in catalog.providers() if entry.name == "cloudflare").key_present


def test_a_key_may_stand_bare_in_a_header_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "canary")
    request = provider("azure/chat").request(Prompt.of("?"))
    assert request.url == "https://mine.openai.azure.com/openai/v1/chat/completions"
    assert request.plain_headers()["api-key"] == "canary"
    assert "authorization" not in request.headers
    assert isinstance(request.headers["api-key"], Secret)


async def test_models_may_be_listed_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "k")
    transport = MemoryTransport({"models.github.ai": [b'[{"id":"openai/gpt-4.1"}]']})
    assert await fanout.list_models("github", transport=transport) == ["openai/gpt-4.1"]
    assert transport.exchanges[0].request.url == "https://models.github.ai/catalog/models"


def test_the_table_says_which_keys_are_present_and_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "canary")
    entries = {entry.name: entry for entry in catalog.providers()}
    assert entries["groq"].key_present
    assert not entries["openai"].key_present
    assert next(iter(entries)) == "local"
    assert "canary" not in repr(entries)


@pytest.mark.parametrize("entry", catalog.providers(), ids=lambda entry: entry.name)
def test_every_row_of_the_table_makes_a_lane(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANOUT_UNOFFICIAL", "huggingchat, hailuo,aura,koala,vitalentum")
    for name in entry.unset:
        monkeypatch.setenv(name, f"https://{name.lower()}")
    model = "smollm2" if entry.name == "local" else "m"  # the embedded model is one
    found: Any = catalog.find(f"{entry.name}/{model}").provider
    base_url = re.sub(r"{(\w+)}", lambda name: f"https://{name[1].lower()}", entry.base_url)
    assert (found.name, found.model, found.base_url) == (entry.name, model, base_url)
    assert type(found).__name__.lower() == entry.wire
    assert not entry.base_url.endswith("/")
    assert entry.keys or not entry.needs_key


async def test_models_are_listed_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "k")
    transport = MemoryTransport({"api.groq.com": [b'{"data":[{"id":"b"},{"id":"a"}]}']})
    assert await fanout.list_models("groq", transport=transport) == ["b", "a"]
    assert transport.exchanges[0].request.url == "https://api.groq.com/openai/v1/models"


async def test_models_of_an_unknown_provider_are_a_mistake() -> None:
    with pytest.raises(UsageError, match="did you mean groq"):
        await fanout.list_models("grok", transport=MemoryTransport({}))
