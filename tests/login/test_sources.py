import json
import sqlite3
import subprocess
import sys
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fanout.credentials import Credentials
from fanout.errors import UsageError
from fanout.login import sources
from fanout.login.services import SERVICES, Site
from fanout.login.sources import Found, parse

CHAT, HAILUO = SERVICES["huggingchat"], SERVICES["hailuo"]
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER, EARLIER = int((NOW + timedelta(days=14)).timestamp()), int((NOW - timedelta(days=1)).timestamp())
CANARY = "CANARY-7f3a91d2c4"


def imported(text: str, site: Site = CHAT, base_url: str | None = None) -> tuple[Credentials, list[str]]:
    url = base_url or site.base_url
    return sources.credentials(site, url, parse(text, site, url), "import", NOW)


def cookies(text: str, site: Site = CHAT, base_url: str | None = None) -> dict[str, str]:
    return {name: value.reveal() for name, value in imported(text, site, base_url)[0].cookies.items()}


def line(name: str, value: str, domain: str = ".huggingface.co", end: int | str = LATER, subdomains: str = "") -> str:
    below = subdomains or ("TRUE" if domain.startswith(".") else "FALSE")
    return "\t".join([domain, below, "/", "TRUE", str(end), name, value])


def entry(
    url: str, cookies: list[dict[str, Any]] | None = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    rows = [{"name": name, "value": value} for name, value in (headers or {}).items()]
    return {"request": {"method": "GET", "url": url, "cookies": cookies or [], "headers": rows}, "response": {}}


def har(*entries: dict[str, Any]) -> str:
    return json.dumps({"log": {"version": "1.2", "entries": entries}})


def test_a_cookies_txt_gives_the_named_cookies_and_when_the_first_of_them_ends() -> None:
    text = "\n".join(
        [
            "# Netscape HTTP Cookie File",
            "# https://curl.se/docs/http-cookies.html",
            "",
            f"#HttpOnly_{line('hf-chat', 's1', 'huggingface.co')}",
            line("token", "t1", end=LATER + 60),
            line("hfChat-codeVerifier", CANARY),
            line("_ga", CANARY),
        ]
    )
    login, notes = imported(text)
    assert {name: value.reveal() for name, value in login.cookies.items()} == {"hf-chat": "s1", "token": "t1"}
    assert login.expires == datetime.fromtimestamp(LATER, UTC)
    assert (login.provider, login.base_url, login.source, login.obtained) == (
        "huggingchat",
        CHAT.base_url,
        "import",
        NOW,
    )
    assert notes == []


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_end_as_on_any_system(newline: str) -> None:
    text = newline.join([line("hf-chat", "s"), line("token", "t"), ""])
    assert cookies(text) == {"hf-chat": "s", "token": "t"}


@pytest.mark.parametrize(
    ("domain", "subdomains", "taken"),
    [
        ("huggingface.co", "FALSE", True),
        (".huggingface.co", "TRUE", True),
        ("HuggingFace.co", "TRUE", True),
        ("evilhuggingface.co", "TRUE", False),
        ("huggingface.co.evil.example", "TRUE", False),
        ("chat.huggingface.co", "TRUE", False),
        (".co", "TRUE", True),
        ("co", "FALSE", False),
        ("face.co", "TRUE", False),
    ],
)
def test_a_cookie_is_taken_if_its_domain_is_the_host_or_a_dot_suffix(domain: str, subdomains: str, taken: bool) -> None:
    text = "\n".join([line("hf-chat", "s", domain, subdomains=subdomains), line("token", "t")])
    if taken:
        assert cookies(text)["hf-chat"] == "s"
    else:
        with pytest.raises(UsageError, match=r"there is no hf-chat for huggingface\.co"):
            imported(text)


def test_of_several_cookies_of_one_name_the_last_counts_but_not_an_expired_one() -> None:
    text = "\n".join(
        [line("hf-chat", "old"), line("hf-chat", "new"), line("hf-chat", CANARY, end=EARLIER), line("token", "t")]
    )
    login, notes = imported(text)
    assert login.cookies["hf-chat"].reveal() == "new"
    assert notes == ["the cookie hf-chat expired on 2026-11-20"]


def test_what_is_missing_is_named_with_the_reason_and_no_value() -> None:
    text = "\n".join([line("hf-chat", CANARY, end=EARLIER), line("other", CANARY)])
    with pytest.raises(UsageError) as caught:
        imported(text)
    assert str(caught.value) == (
        "there is no hf-chat and no token for huggingface.co; the cookie hf-chat expired on 2026-11-20"
    )


@pytest.mark.parametrize("end", [0, -1, "0.0"])
def test_a_cookie_that_ends_with_its_session_has_no_known_end(end: int | str) -> None:
    login, notes = imported("\n".join([line("hf-chat", "s", end=end), line("token", "t", end=end)]))
    assert (login.expires, notes) == (None, [])


@pytest.mark.parametrize(
    "bad", ["hf-chat s", f"x\t{CANARY}", line("hf-chat", CANARY, end="soon"), f"{line('a', 'b')}\tc"]
)
def test_a_line_that_is_no_cookie_is_named_by_its_number(bad: str) -> None:
    with pytest.raises(UsageError, match=r"line 2 .* seven fields") as caught:
        imported(f"{line('token', 't')}\n{bad}\n")
    assert CANARY not in str(caught.value)


def test_lines_of_other_cookies_may_be_damaged_as_they_will_and_are_named() -> None:
    stripped = line("_ga", "").rstrip()
    login, notes = imported("\n".join([stripped, "x y", line("hf-chat", "s"), line("token", "t")]))
    assert login.cookies["hf-chat"].reveal() == "s"
    (note,) = notes
    assert note.startswith("line 2 of the cookies.txt was left out")


def test_entries_of_an_export_that_are_no_cookies_are_left_out_unless_they_are_needed() -> None:
    rows: list[object] = [*EXPORT, {"name": "_gid", "value": None}, CANARY]
    login, notes = imported(json.dumps(rows))
    assert (set(login.cookies), len(notes)) == ({"hf-chat", "token"}, 2)
    assert CANARY not in str(notes)
    with pytest.raises(UsageError, match=r"entry 1 .* not a cookie"):
        imported(json.dumps([{"name": "hf-chat", "value": 5}, *EXPORT[1:]]))


def test_entries_of_a_har_without_a_request_are_of_other_sites() -> None:
    good = entry("https://huggingface.co/chat", headers={"Cookie": "hf-chat=s; token=t"})
    text = har({}, {"request": None}, {"request": {"url": 5}}, good)
    assert cookies(text) == {"hf-chat": "s", "token": "t"}


EXPORT = [
    {"domain": "huggingface.co", "hostOnly": True, "name": "hf-chat", "value": "s", "expirationDate": LATER + 0.5},
    {"domain": ".huggingface.co", "hostOnly": False, "name": "token", "value": "t", "session": True},
    {"domain": ".huggingface.co", "name": "_ga", "value": CANARY},
]


@pytest.mark.parametrize("value", [EXPORT, {"cookies": EXPORT, "origins": []}])
def test_the_export_of_a_browser_extension_is_read(value: object) -> None:
    login, _ = imported("\ufeff" + json.dumps(value, indent=2) + "\n")
    assert {name: value.reveal() for name, value in login.cookies.items()} == {"hf-chat": "s", "token": "t"}
    assert login.expires == datetime.fromtimestamp(LATER + 0.5, UTC)


@pytest.mark.parametrize(
    "end", [LATER * 1000, "2026-12-05T12:00:00Z", "2026-12-05T12:00:00", "2026-12-05T13:00:00+01:00"]
)
def test_an_end_may_be_in_milliseconds_or_iso_text(end: object) -> None:
    rows = [{"domain": "huggingface.co", "name": name, "value": "x", "expires": end} for name in ("hf-chat", "token")]
    assert imported(json.dumps(rows))[0].expires == datetime(2026, 12, 5, 12, tzinfo=UTC)


def test_plain_names_and_values_are_read() -> None:
    assert cookies('{"hf-chat": "s", "token": "t", "other": "x"}') == {"hf-chat": "s", "token": "t"}


def test_a_host_only_cookie_of_the_parent_domain_is_not_sent_here() -> None:
    rows = [{"domain": "example.org", "name": "hf-chat", "value": "s", "hostOnly": True}]
    with pytest.raises(UsageError, match="no hf-chat"):
        imported(json.dumps(rows), base_url="https://chat.example.org")
    rows[0]["hostOnly"] = False
    assert cookies(json.dumps(rows), base_url="https://chat.example.org") == {"hf-chat": "s"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'{{"{CANARY}', "none"),
        ("[" * 100_000, "none"),
        ("{}", "no hf-chat"),
        (f'{{"a": ["{CANARY}"]}}', "neither a HAR nor a list of cookies"),
        (f'[{{"name": "{CANARY}"}}]', "entry 1"),
        (f'["{CANARY}"]', "entry 1"),
        ('{"log": 5}', "HAR is damaged"),
        ('{"log": {"entries": [{"request": {"url": 5}}]}}', "HAR is damaged"),
        ('{"log": {"entries": []}}', "no request to huggingface.co"),
        ("", "no hf-chat"),
        (f"<html>{CANARY}</html>", "no hf-chat|no token"),
    ],
)
def test_what_cannot_be_read_is_told_without_repeating_it(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        imported(text)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "hf-chat=s; token=t",
        "Cookie: hf-chat=s; a=b; token=t",
        "token=t;hf-chat=s;",
        '"hf-chat=s; token=t"',
        "hf-chat=s\ntoken=t\n",
    ],
)
def test_a_cookie_header_is_read_however_it_was_pasted(text: str) -> None:
    assert cookies(text) == {"hf-chat": "s", "token": "t"}


@pytest.mark.parametrize("value", ["f3a91d2c-4e", "c2VjcmV0", "c2VjcmV0cw=="])
def test_a_value_alone_is_the_one_cookie_that_is_needed(value: str) -> None:
    assert cookies(f" {value}\n", base_url="https://chat.example.org") == {"hf-chat": value}


def test_the_wrong_cookie_is_not_taken_for_a_value_alone() -> None:
    with pytest.raises(UsageError, match="no hf-chat"):
        imported("session=abc", base_url="https://chat.example.org")


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\x00b", "ä", "a b", ""])
def test_a_value_that_no_header_can_carry_is_left_out(value: str) -> None:
    with pytest.raises(UsageError, match=r"there is no hf-chat .*the cookie hf-chat has an unusable value"):
        imported(json.dumps({"hf-chat": value, "token": "t"}))
    with pytest.raises(UsageError, match="there is no token"):
        sources.credentials(HAILUO, HAILUO.base_url, sources.token(value, HAILUO), "import", NOW)


def jwt(claims: object) -> str:
    parts = (urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "HS256"}, claims))
    return ".".join((*parts, "c2ln"))


@pytest.mark.parametrize(
    ("claims", "end"),
    [({"exp": LATER}, datetime.fromtimestamp(LATER, UTC)), ({}, None), ({"exp": "soon"}, None), ([], None)],
)
def test_a_token_is_read_alone_and_says_itself_when_it_ends(claims: object, end: datetime | None) -> None:
    for text in (jwt(claims), f'"{jwt(claims)}"\n', f"Bearer {jwt(claims)}"):
        login, _ = imported(text, HAILUO)
        assert (login.secrets["token"].reveal(), login.expires, dict(login.cookies)) == (jwt(claims), end, {})


AGENT = {"User-Agent": "Mozilla/5.0", "sec-ch-ua": '"Chromium";v="156"', "sec-ch-ua-mobile": "?0"}


def test_the_last_request_of_a_har_wins_and_brings_its_browser_s_headers() -> None:
    text = har(
        entry("https://huggingface.co/chat/", headers={"Cookie": "hf-chat=old; token=old", "User-Agent": "old"}),
        entry(
            "https://huggingface.co/chat/api",
            [{"name": "hf-chat", "value": "decoded", "expires": "2026-12-05T12:00:00.000Z"}],
            {
                "cookie": "hf-chat=s%3D; token=t; _ga=x",
                ":authority": "x",
                "content-length": "5",
                "accept": "*",
                **AGENT,
            },
        ),
        entry("https://evilhuggingface.co/", headers={"cookie": f"hf-chat={CANARY}"}),
        entry("https://huggingface.co.evil.example/", headers={"cookie": f"hf-chat={CANARY}"}),
        entry("https://cdn.huggingface.co/", headers={"cookie": f"hf-chat={CANARY}", "user-agent": CANARY}),
        entry("https://evil.example/?to=huggingface.co", headers={"cookie": f"hf-chat={CANARY}"}),
    )
    login, notes = imported(text)
    assert {name: value.reveal() for name, value in login.cookies.items()} == {"hf-chat": "s%3D", "token": "t"}
    assert login.headers == {"user-agent": "Mozilla/5.0", "sec-ch-ua": '"Chromium";v="156"', "sec-ch-ua-mobile": "?0"}
    assert login.expires == datetime(2026, 12, 5, 12, tzinfo=UTC)
    assert notes == []


def test_a_har_that_lists_cookies_without_the_header_is_read_too() -> None:
    rows = [{"name": "hf-chat", "value": "s"}, {"name": "token", "value": "t"}]
    assert cookies(har(entry("https://huggingface.co/", rows))) == {"hf-chat": "s", "token": "t"}


def test_a_host_below_counts_where_the_host_itself_says_nothing() -> None:
    text = har(entry("https://api.chat.example.org/", headers={"cookie": "hf-chat=s"}))
    assert cookies(text, base_url="https://chat.example.org") == {"hf-chat": "s"}


def test_a_har_saved_without_cookies_says_how_to_save_it_with_them() -> None:
    with pytest.raises(UsageError, match="export it again, with sensitive data"):
        imported(har(entry("https://huggingface.co/chat/", headers=AGENT)))


def test_a_har_of_a_site_with_a_token_gives_the_token_and_what_the_query_tells_of_the_browser() -> None:
    query = "device_platform=web&uuid=u-1&device_id=42&os_name=Linux&browser_platform=Linux+x86_64&unix=1"
    text = har(
        entry(f"https://www.hailuo.ai/v4/api/chat/msg?{query}", headers={"token": "t.t.t", "cookie": "a=b", **AGENT}),
        entry("https://www.hailuo.ai/logo.png"),
    )
    login, _ = imported(text, HAILUO)
    assert (login.secrets["token"].reveal(), dict(login.cookies)) == ("t.t.t", {})
    assert login.fields == {"uuid": "u-1", "device_id": "42", "os_name": "Linux", "browser_platform": "Linux x86_64"}
    assert login.headers["user-agent"] == "Mozilla/5.0"


def test_the_environment_is_for_the_service_s_own_address_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHAT.base_url_variable, raising=False)
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_COOKIE", "hf-chat=s; token=t")
    found = sources.from_environment("huggingchat", f"{CHAT.base_url}/")
    assert found and (found.source, found.obtained, found.cookies["token"].reveal()) == ("environment", None, "t")
    assert sources.from_environment("huggingchat", "https://evil.example") is None
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_BASE_URL", "https://chat.example.org/")
    assert sources.from_environment("huggingchat", CHAT.base_url) is None
    assert sources.from_environment("huggingchat", "https://chat.example.org") is not None
    assert sources.from_environment("koala", "https://koala.sh") is None


def test_a_variable_that_holds_no_login_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHAT.base_url_variable, raising=False)
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_COOKIE", f"token={CANARY}")
    with pytest.raises(UsageError, match=r"^FANOUT_HUGGINGCHAT_COOKIE: there is no hf-chat") as caught:
        sources.from_environment("huggingchat", CHAT.base_url)
    assert CANARY not in str(caught.value)
    monkeypatch.setenv("FANOUT_HUGGINGCHAT_COOKIE", " ")
    assert sources.from_environment("huggingchat", CHAT.base_url) is None


def test_without_the_extra_another_browser_s_jar_is_an_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(UsageError, match=r"pip install 'fanout-llm\[cookies\]'.*--file"):
        sources.from_browser("firefox")


def firefox_jar(home: Path) -> Path:
    """A Firefox profile with a jar like the one that Firefox writes."""
    profile = home / ".mozilla/firefox/abc.default"
    profile.mkdir(parents=True)
    jar = sqlite3.connect(profile / "cookies.sqlite")
    jar.execute("CREATE TABLE moz_cookies (originAttributes TEXT, name TEXT, value TEXT, host TEXT, path TEXT, "
                "expiry INTEGER, isSecure INTEGER)")  # fmt: skip
    rows = [
        ("", "hf-chat", "s", "huggingface.co", "/", LATER, 1),
        ("", "token", "t", ".huggingface.co", "/", LATER, 1),
        ("", "token", CANARY, ".example.org", "/", LATER, 1),
    ]
    jar.executemany("INSERT INTO moz_cookies VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    jar.commit()
    jar.close()
    return profile


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    pytest.importorskip("yt_dlp", reason="the extra `cookies` is not installed")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the profile lies where Linux has it")
def test_firefox_s_jar_is_read(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    profile = firefox_jar(home)
    for found in (sources.from_browser("firefox"), sources.from_browser("firefox", str(profile))):
        login, _ = sources.credentials(CHAT, CHAT.base_url, found, "import", NOW)
        assert {name: value.reveal() for name, value in login.cookies.items()} == {"hf-chat": "s", "token": "t"}
        assert login.expires == datetime.fromtimestamp(LATER, UTC)
        assert [cookie.host_only for cookie in found.cookies] == [True, False, False]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_browser_that_is_not_there_is_told(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"^the cookies of chrome cannot be read: could not find"):
        sources.from_browser("chrome")
    assert capfd.readouterr() == ("", "")


def test_what_was_found_shows_no_value() -> None:
    found = parse(har(entry("https://huggingface.co/", headers={"cookie": f"hf-chat={CANARY}"})), CHAT, CHAT.base_url)
    assert CANARY not in repr(found)
    assert CANARY not in repr(Found(secrets=parse(CANARY, HAILUO, HAILUO.base_url).secrets))


@pytest.mark.slow
def test_what_few_need_is_imported_when_it_is_needed() -> None:
    code = "import sys, fanout.login.store; print(*sorted({'cattrs', 'nodriver', 'trio', 'yt_dlp'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
