"""The page in a real browser: nothing is fetched, nothing is refused, nothing is wider than the screen."""

import base64
import json
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from fanout.bench.analysis.summary import summarize
from fanout.bench.report.page import make_page
from fanout.login.browser import Settings, Tab, open_tab
from fanout.login.devtools import DevTools
from fanout.login.services import SERVICES
from tests.bench import runs
from tests.servers.login import BROWSER, NEEDS_BROWSER, own_temporary_directory

pytestmark = list(NEEDS_BROWSER)

ABOUT = {"command": f"fanout bench {' '.join(f'-m {kind.name}' for kind in runs.KINDS)} --slo 'ttft:800 itl:50'"}

LOADED = 'document.readyState == "complete" || new Promise(done => addEventListener("load", done))'
LOOK = """
(() => {
    const root = document.documentElement, charts = [...document.querySelectorAll("svg:not(svg svg)")];
    const small = [...document.querySelectorAll("svg text")].filter(
        text => text.getClientRects().length && parseFloat(getComputedStyle(text).fontSize) < 11);
    const outside = [...document.querySelectorAll("svg text")].filter(text => {
        const box = text.getBoundingClientRect();
        return box.width && (box.left < 0 || box.right > root.clientWidth);
    });
    const touching = charts.flatMap(svg => {
        const texts = [...svg.querySelectorAll("text")].filter(text => text.textContent && text.getClientRects()[0]);
        const boxes = texts.map(text => [text.getBoundingClientRect(), text.textContent]);
        return boxes.flatMap(([a, one], at) => boxes.slice(at + 1).filter(([b]) =>
            a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4
        ).map(([, other]) => `${svg.ariaLabel}: ${one} | ${other}`));
    });
    return {
        touching,
        widths: [root.scrollWidth, root.clientWidth],
        nameless: charts.filter(svg => svg.ariaHidden !== "true" && !svg.ariaLabel).length,
        charts: charts.filter(svg => svg.role === "img").length,
        invisible: charts.filter(svg => svg.role === "img" && !(svg.getBoundingClientRect().width > 200)).length,
        small: small.length,
        outside: outside.map(text => text.textContent),
        background: getComputedStyle(document.body).backgroundColor,
        fetched: performance.getEntriesByType("resource").length,
    };
})()
"""


@define
class Seen:
    """A tab, and what the browser told by itself of what the page did."""

    tab: Tab
    told: list[dict[str, Any]] = field(factory=list)

    async def look(self, width: int, scheme: str) -> dict[str, Any]:
        """The page's answers at so many pixels across."""
        cdp = self.tab.protocol
        feature = cdp.emulation.MediaFeature("prefers-color-scheme", scheme)
        await self.tab.call(cdp.emulation.set_emulated_media(features=[feature]))
        await self.tab.call(cdp.emulation.set_device_metrics_override(width, 900, 1, mobile=False))
        value: dict[str, Any] = await self.tab.evaluate(LOOK)
        return value

    async def picture(self) -> bytes:
        """The whole page as a PNG."""
        cdp = self.tab.protocol
        return base64.b64decode(await self.tab.call(cdp.page.capture_screenshot(capture_beyond_viewport=True)))


@asynccontextmanager
async def open_page(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Seen]:
    """Shows a file, while the browser tells of its console, its network and of what it refuses."""
    hear, told = DevTools._hear, list[dict[str, Any]]()

    def overhear(self: DevTools, message: bytes) -> None:
        event = json.loads(message)
        if "method" in event:
            told.append(event)
        hear(self, message)

    monkeypatch.setattr(DevTools, "_hear", overhear)
    async with open_tab(SERVICES["hailuo"], Settings(headless=True, browser=BROWSER)) as tab:
        for domain in (tab.protocol.log, tab.protocol.network, tab.protocol.runtime, tab.protocol.page):
            await tab.call(domain.enable())
        await tab.show(path.as_uri())
        await tab.evaluate(LOADED)
        yield Seen(tab, told)


RUNS: dict[str, Callable[[], Any]] = {
    "usual": lambda: list(runs.run(80)),
    "sweep": lambda: list(runs.swept([1, 4, 16], 20)),
    "one": lambda: list(runs.run(1, runs.KINDS[:1])),
}


@pytest.mark.parametrize("name", RUNS)
async def test_it_shows_at_any_width_and_in_both_themes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = RUNS[name]()
    (path := tmp_path / "report.html").write_text(make_page(summarize(records, resamples=100), records, ABOUT), "utf-8")
    with own_temporary_directory(monkeypatch):
        async with open_page(path, monkeypatch) as seen:
            backgrounds = set()
            for width in (1280, 390):
                for scheme in ("light", "dark"):
                    found = await seen.look(width, scheme)
                    scrolls, has = found["widths"]
                    assert scrolls <= has <= width
                    assert found["charts"] >= 4
                    assert (found["nameless"], found["invisible"], found["small"]) == (0, 0, 0)
                    assert (found["outside"], found["touching"], found["fetched"]) == ([], [], 0)
                    backgrounds.add(found["background"])
                size = struct.unpack(">II", (await seen.picture())[16:24])
                assert size[0] <= width and size[1] > 1500
            assert len(backgrounds) == 2
    assert_quiet(seen.told, path)


def assert_quiet(told: list[dict[str, Any]], path: Path) -> None:
    """Asserts that the file was all that was asked for, and that the browser complained of nothing."""
    asked = {event["params"]["request"]["url"] for event in told if event["method"] == "Network.requestWillBeSent"}
    assert asked == {path.as_uri()}
    said = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
    assert [event for event in told if event["method"] in said] == []


async def test_a_page_that_did_fetch_or_run_something_would_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the silence above means something; and the page's policy stops what slipped through."""
    records = list(runs.run(1, runs.KINDS[:1]))
    text = make_page(summarize(records, resamples=100), records, ABOUT)
    smuggled = '<img src="http://127.0.0.1:9/x" onerror="document.title = 1"><script>document.title = 2</script></main>'
    (path := tmp_path / "report.html").write_text(text.replace("</main>", smuggled), "utf-8")
    with own_temporary_directory(monkeypatch):
        async with open_page(path, monkeypatch) as seen:
            await seen.look(390, "light")
            heading = await seen.tab.evaluate("document.title")
    assert heading.startswith("fanout bench")
    refused = [event["params"]["entry"]["text"] for event in seen.told if event["method"] == "Log.entryAdded"]
    assert len(refused) >= 2
    with pytest.raises(AssertionError):
        assert_quiet(seen.told, path)
