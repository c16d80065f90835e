"""The places that keys come from: the environment, those that are stored, and .env; and that nobody else reads them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fanout import catalog
from fanout.catalog import keys
from fanout.catalog.config import load as load_config
from fanout.catalog.keys import Found, delete, find_keys, save
from fanout.credentials.secret import Secret
from fanout.errors import UsageError
from fanout.prompt import Prompt
from tests.cpu import seconds_of


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory of each test; with a state directory of its own, and without keys."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in [name for name in os.environ if "_KEY" in name]:
        monkeypatch.delenv(name)
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    return project


def test_numbered_variables_and_comma_lists_are_pools_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECOND_KEY", "a, b,")
    monkeypatch.setenv("SECOND_KEY_2", "c")
    monkeypatch.setenv("SECOND_KEY_4", "not reached")
    monkeypatch.setenv("THIRD_KEY", "another service's")
    names = ("FIRST_KEY", "SECOND_KEY", "THIRD_KEY")
    assert find_keys(names) == Found("SECOND_KEY", "environment", ("a", "b", "c"))
    assert find_keys(("FIRST_KEY",)) is None
    assert find_keys(()) is None


def test_the_environment_goes_before_stored_keys_and_these_before_dotenv(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / ".env").write_text("GROQ_API_KEY=of-the-project")
    assert find_keys(("GROQ_API_KEY",)) == Found("GROQ_API_KEY", ".env", ("of-the-project",))
    save("GROQ_API_KEY", "stored-1,stored-2")
    assert find_keys(("GROQ_API_KEY",)) == Found("GROQ_API_KEY", "stored", ("stored-1", "stored-2"))
    monkeypatch.setenv("GROQ_API_KEY", "set")
    assert find_keys(("GROQ_API_KEY",)) == Found("GROQ_API_KEY", "environment", ("set",))
    assert "set" not in repr(find_keys(("GROQ_API_KEY",))).replace("environment", "")


def test_a_place_goes_before_another_whichever_of_the_variables_it_has(place: Path) -> None:
    (place / ".env").write_text("GEMINI_API_KEY=a")
    save("GOOGLE_API_KEY", "b")
    found = find_keys(("GEMINI_API_KEY", "GOOGLE_API_KEY"))
    assert found is not None and (found.variable, found.place) == ("GOOGLE_API_KEY", "stored")


def test_only_their_owner_can_read_stored_keys_and_others_are_refused() -> None:
    path = save("GROQ_API_KEY", "k")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    path.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        find_keys(("GROQ_API_KEY",))


def test_a_key_is_deleted_and_the_others_stay() -> None:
    save("GROQ_API_KEY", "a")
    save("OPENAI_API_KEY", "b")
    assert delete("GROQ_API_KEY") and not delete("GROQ_API_KEY")
    assert keys.load() == {"OPENAI_API_KEY": "b"}


def test_a_damaged_file_is_one_line_that_repeats_nothing_of_it() -> None:
    path = save("GROQ_API_KEY", "canary")
    path.write_text('["canary"]')
    with pytest.raises(UsageError, match=r"keys\.json is damaged; remove it") as caught:
        keys.load()
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("text", ["", " ", "two words", "a,,b", "line\nline", "ключ", "a,"])
def test_what_is_no_key_is_not_stored(text: str) -> None:
    with pytest.raises(UsageError, match="this is no key" if text else "no key was given"):
        save("GROQ_API_KEY", text)
    assert keys.load() == {}


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("X_KEY=a", "a"),
        ("export X_KEY = a", "a"),
        ('X_KEY="a"', "a"),
        ("X_KEY='a' # of the team", "a"),
        ("X_KEY=a # of the team", "a"),
        ("\ufeffX_KEY=a\r", "a"),
        ("X_KEY=a#b", "a#b"),
        ("# X_KEY=a", None),
        ("X_KEY=", None),
        ("X_KEY", None),
        ("X_KEY = # of the team", None),
        ('X_KEY="a" b', None),
        ('X_KEY="a"#b', None),
        ('X_KEY="a', None),
        ("X_KEY='a#\"b'  ", 'a#"b'),
        ("X_KEY=a b\t#c # d", "a b"),
        ("set X_KEY=a", None),
        ("export=1", None),
        ("$(touch x)", None),
    ],
)
def test_a_line_of_dotenv_is_read_as_shells_and_libraries_do(place: Path, line: str, key: str | None) -> None:
    (place / ".env").write_text(f"{line}\nOTHER=1\n")
    found = find_keys(("X_KEY",))
    assert (found.keys[0] if found else None) == key


@pytest.mark.parametrize(
    "text",
    [
        "X_KEY=a" + " " * 60_000 + "b",
        "X_KEY=" + " #" * 30_000,
        " " * 60_000 + "X_KEY",
        "export" + " " * 60_000 + "=",
        "X_KEY" + " " * 60_000 + "x",
        'X_KEY="' + " '" * 30_000,
        "X_KEY=a\n" + ("X_OTHER=a" + " " * 4000 + "b\n") * 14,
    ],
)
def test_a_dotenv_file_that_is_made_to_keep_its_reader_busy_does_not(place: Path, text: str) -> None:
    (place / ".env").write_text(text)

    def ask() -> None:
        for _ in range(60):  # as often as a list of providers does
            with suppress(UsageError):
                find_keys(("X_KEY",))

    assert seconds_of(ask) < 0.5


def test_a_line_of_dotenv_that_is_too_long_is_refused_where_its_key_is_asked_for(place: Path) -> None:
    (place / ".env").write_text(f"CERTIFICATE={'a' * 5000}\nX_KEY=a\nY_KEY=b\nY_KEY_2={'canary' * 1000}\n")
    assert find_keys(("X_KEY",)) == Found("X_KEY", ".env", ("a",))
    with pytest.raises(UsageError, match=r"^\.env: the line of Y_KEY.* has more than 4096 characters") as caught:
        find_keys(("Y_KEY",))
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("kind", ["directory", "fifo", "bytes"])
def test_what_is_no_dotenv_file_holds_no_key(place: Path, kind: str) -> None:
    match kind:
        case "directory":
            (place / ".env").mkdir()
        case "fifo":
            os.mkfifo(place / ".env")
        case "bytes":
            (place / ".env").write_bytes(b"\xff\xfeX\0_KEY")
    assert find_keys(("X_KEY",)) is None


def test_a_project_s_key_goes_to_the_provider_s_own_address_and_to_none_that_its_fanout_toml_names(place: Path) -> None:
    (place / ".env").write_text("GROQ_API_KEY=canary\nMINE_KEY=canary")
    own = catalog.find("groq/x")
    assert own.provider.request(Prompt.of("hi")).headers["authorization"] == Secret("Bearer canary")
    assert "canary" not in repr(own)
    (place / "fanout.toml").write_text(
        """
        [lanes.bare]
        spec = "groq/x"
        base_url = "https://elsewhere.example/v1"
        [lanes.named]
        spec = "groq/x"
        base_url = "https://elsewhere.example/v1"
        key_env = "GROQ_API_KEY"
        [lanes.other]
        spec = "groq/x"
        key_env = "MINE_KEY"
        """
    )
    config = load_config()
    assert getattr(catalog.find("bare", config).provider, "key", None) is None
    for name in ("named", "other"):
        with pytest.raises(UsageError, match="FANOUT_TRUST_PROJECT"):
            catalog.find(name, config)


@pytest.fixture
def keyring() -> Iterator[dict[tuple[str, str], str]]:
    """The contents of a keyring in memory, which stands where the system's would."""
    library: Any = pytest.importorskip("keyring")
    backend: Any = pytest.importorskip("keyring.backend")
    errors: Any = pytest.importorskip("keyring.errors")
    held: dict[tuple[str, str], str] = {}

    class InMemory(backend.KeyringBackend):  # type: ignore[misc]  # its class is known at run time only
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return held.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            if username == "LOCKED_KEY":
                raise errors.KeyringLocked("it is locked")
            held[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del held[service, username]

    before = library.get_keyring()
    library.set_keyring(InMemory())
    yield held
    library.set_keyring(before)


def test_a_key_in_the_system_s_keyring_is_in_no_file(keyring: dict[tuple[str, str], str]) -> None:
    path = save("GROQ_API_KEY", "canary", keyring=True)
    assert keyring == {("fanout", "GROQ_API_KEY"): "canary"}
    assert "canary" not in path.read_text()
    found = find_keys(("GROQ_API_KEY",))
    assert found is not None and found.keys == ("canary",)
    assert delete("GROQ_API_KEY") and keyring == {} and keys.load() == {}


@pytest.mark.usefixtures("keyring")
def test_a_keyring_that_refuses_is_one_line() -> None:
    with pytest.raises(UsageError, match="keyring refused LOCKED_KEY: it is locked"):
        save("LOCKED_KEY", "k", keyring=True)
    assert keys.load() == {}
