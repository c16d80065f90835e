"""The display that follows a fan-out, and the example notebook in a real Jupyter kernel."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

import fanout
from fanout.errors import UsageError
from tests.facades.test_aio import END, LANE, TOKEN, play
from tests.servers.voices import open_voices

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


class Shown:
    """Stands where IPython is: keeps what a page would have shown."""

    def __init__(self, **has: object) -> None:
        self.pages: list[str] = []
        self.__dict__ |= has

    def display(self, thing: Any, *, display_id: bool = False) -> "Shown":
        self.update(thing)
        return self

    def get_ipython(self) -> Any:
        return self

    def update(self, thing: Any) -> None:
        self.pages.append(thing._repr_html_())


@pytest.mark.slow
def test_the_display_follows_the_stream_until_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(kernel=True)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.setitem(sys.modules, "IPython", shown)
    run = asyncio.run(fanout.aio.show("?", LANE, transport=play(0.15, TOKEN, 0.15, TOKEN, 0.15, END)))
    assert run.answers[0].text == "word word "
    assert "waits" in shown.pages[0]
    assert any("runs" in page for page in shown.pages)
    assert "finished" in shown.pages[-1]
    assert len(shown.pages) <= 8


def test_on_a_terminal_it_shows_the_end_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown()
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.setitem(sys.modules, "IPython", shown)
    asyncio.run(fanout.aio.show("?", LANE, transport=play(TOKEN, 0.15, END)))
    (page,) = shown.pages
    assert "finished" in page


def test_without_ipython_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(UsageError, match="IPython is not installed"):
        asyncio.run(fanout.aio.show("?", LANE))


def outputs(cell: Any, kind: str) -> list[str]:
    return ["".join(output["data"].get(kind, "")) for output in cell["outputs"] if "data" in output]


@pytest.mark.slow
def test_the_example_runs_in_a_jupyter_kernel(portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    with portal.wrap_async_context_manager(open_voices(hurry=4)) as voices:
        for name, value in voices.environment.items():
            monkeypatch.setenv(name, value)
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    race, show, run, counts = [cell for cell in notebook.cells if cell.cell_type == "code"][1:]
    (answer,) = outputs(race, "text/html")
    assert "Air scatters blue light" in answer
    (columns,) = outputs(show, "text/html")  # the updates have replaced the first
    assert columns == outputs(run, "text/html")[0]
    assert columns.count("finished") == 2
    assert outputs(counts, "text/plain")[0].startswith("{'fast': ")


def test_the_example_has_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
