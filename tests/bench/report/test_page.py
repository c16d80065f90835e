"""The page as a text; `test_report_browser.py` has it in a real browser."""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from xml.etree import ElementTree as ET

import pytest
from attrs import evolve

from fanout.bench.analysis.summary import Summary, summarize
from fanout.bench.records.record import Record
from fanout.bench.report.page import LINKS, make_page
from fanout.events import Status
from tests.bench import runs

ABOUT: Mapping[str, object] = {
    "command": "fanout bench -m a -m 'b<>&'",
    "start": "2026-11-21 16:41 UTC",
    "versions": {"fanout": "0.1.0", "libcurl": "8.17.0"},
    "machine": ["Linux", "2 cores"],
}
OBJECTIVES = {"ttft": 0.8, "itl": 0.05}


def usual() -> list[Record]:
    return list(runs.run(60))


def named(*names: str) -> list[Record]:
    kinds = [evolve(kind, name=name) for kind, name in zip(runs.KINDS * 3, names, strict=False)]
    return list(runs.run(20, kinds))


def unstreamed() -> list[Record]:
    return [
        evolve(record, streamed=False, times=record.times[-1:], kinds=record.kinds[-1:], sizes=record.sizes[-1:])
        for record in runs.run(20, runs.KINDS[:2])
        if record.times
    ]


def failed() -> list[Record]:
    return list(runs.run(12, [evolve(kind, failing=1.0) for kind in runs.KINDS[:2]]))


def open_loop() -> list[Record]:
    return [evolve(record, intended=record.sent - 0.02) for record in runs.run(20, runs.KINDS[:2])]


def raced() -> list[Record]:
    """Races beside a benchmark: the loser is cancelled."""
    others = [evolve(record, race=True, status=Status.CANCELLED, block=record.block + 100) for record in usual()[:8]]
    return usual() + others


RUNS: dict[str, Callable[[], list[Record]]] = {
    "usual": usual,
    "two": lambda: list(runs.run(5, runs.KINDS[:2])),
    "one": lambda: list(runs.run(1, runs.KINDS[:1])),
    "all-failed": failed,
    "not-streamed": unstreamed,
    "open-loop": open_loop,
    "sweep": lambda: list(runs.swept([1, 4, 16], 12)),
    "races": raced,
    "only-races": lambda: [evolve(record, race=True) for record in runs.run(12, runs.KINDS[:2])],
    "ten-lanes": lambda: named(*(f"some-service/a-model-with-a-long-name-{index}" for index in range(10))),
    "odd-names": lambda: named("<script>alert(1)</script>", 'a"b\x00', "&amp;'"),
    "cold": lambda: [evolve(record, warmup=record.block < 3) for record in runs.run(20, runs.KINDS[:2])],
}


@pytest.fixture(scope="module")
def pages() -> Callable[[str], str]:
    made: dict[str, str] = {}

    def get(name: str) -> str:
        if name not in made:
            records = RUNS[name]()
            made[name] = make_page(summary(records), records, ABOUT)
        return made[name]

    return get


def summary(records: list[Record]) -> Summary:
    """Its intervals need not be exact here."""
    return summarize(records, objectives=OBJECTIVES, resamples=100)


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text.removeprefix("<!doctype html>"))


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_it_is_well_formed_and_its_links_lead_somewhere(pages: Callable[[str], str], name: str) -> None:
    root = parsed(pages(name))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        if (target := element.get("href")) is not None and element.tag != "link":
            assert target.startswith("#") and target[1:] in ids, target


@pytest.mark.parametrize("name", RUNS)
def test_every_chart_has_a_name_a_description_and_its_data(pages: Callable[[str], str], name: str) -> None:
    root = parsed(pages(name))
    figures = list(root.iter("figure"))
    assert figures
    for figure in figures:
        [chart] = [svg for svg in figure.iter("svg") if svg.get("role") == "img"]
        assert chart.get("aria-label") and chart.findtext("desc")
        table = figure.find("details//table")
        assert table is not None and len(list(table.iter("tr"))) >= 2
    tops = [svg for svg in root.iter("svg") if svg.get("viewBox") is None]
    assert all(svg.get("role") == "img" or svg.get("aria-hidden") == "true" for svg in tops)


@pytest.mark.parametrize("name", RUNS)
def test_every_row_of_a_table_has_a_cell_for_each_column(pages: Callable[[str], str], name: str) -> None:
    for table in parsed(pages(name)).iter("table"):
        widths = {sum(int(cell.get("colspan", 1)) for cell in row) for row in table.iter("tr")}
        assert len(widths) == 1


@pytest.mark.parametrize("name", RUNS)
def test_it_runs_nothing_and_fetches_nothing(pages: Callable[[str], str], name: str) -> None:
    root = parsed(pages(name))
    assert not {"script", "img", "iframe", "object", "base", "form"} & {element.tag for element in root.iter()}
    for element in root.iter():
        assert not [key for key in element.attrib if key.startswith("on") or key in ("src", "style")]
    links = [element.get("href") for element in root.iter("link")]
    assert links == ["data:,"]


def test_the_policy_allows_its_own_style_sheet_and_nothing_else(pages: Callable[[str], str]) -> None:
    root = parsed(pages("usual"))
    [policy] = [meta.get("content") or "" for meta in root.iter("meta") if meta.get("http-equiv")]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    style = re.findall(r"<style>(.*?)</style>", pages("usual"), re.DOTALL)
    assert rules["style-src"] == f"'sha256-{b64encode(sha256(style[0].encode()).digest()).decode()}'"
    assert rules["default-src"] == "'none'" and "script-src" not in rules
    assert "url(" not in style[0] and "@import" not in style[0]


def test_what_services_say_is_text_cut_short_and_in_its_own_order(pages: Callable[[str], str]) -> None:
    [message] = [bdi for bdi in parsed(pages("usual")).iter("bdi") if "alert" in (bdi.text or "")]
    assert message.text and message.text.startswith('<img src="http://127.0.0.1:9/x" onerror="alert(1)">')
    assert message.text.endswith("…") and len(message.text) <= 401
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b\x00]", pages("usual"))


@pytest.mark.parametrize("name", ["usual", "sweep", "ten-lanes"])
def test_it_is_small(pages: Callable[[str], str], name: str) -> None:
    assert len(pages(name).encode()) < 300_000


@pytest.mark.slow
def test_it_grows_little_with_the_run() -> None:
    records = list(runs.run(1000, runs.KINDS[:2]))
    made = summary(records[:400])
    small, large = (len(make_page(made, part, ABOUT).encode()) for part in (records[:400], records))
    assert abs(large - small) < 0.15 * small


def test_all_sections_are_there_in_order_and_linked(pages: Callable[[str], str]) -> None:
    root = parsed(pages("sweep"))
    there = [section.get("id") for section in root.iter("section")]
    assert there == [key for key in LINKS if key != "races"]
    assert [link.text for link in root.findall("body/nav/a")] == [LINKS[key] for key in there if key]
    fewer = [section.get("id") for section in parsed(pages("one")).iter("section")]
    assert "load" not in fewer and "differences" not in fewer and "wins" not in fewer


def words(text: str) -> str:
    return " ".join("".join(parsed(text).itertext()).split())


def test_it_says_who_won_whether_to_believe_it_and_how_to_do_it_again(pages: Callable[[str], str]) -> None:
    records = usual()
    found = summary(records).comparisons[0]
    header = parsed(pages("usual")).find("body/header")
    assert header is not None
    said = " ".join(header.itertext())
    assert found.sentence in said
    assert "Partly trusted" in said and "local" in said
    assert "fanout bench -m a -m 'b<>&'" in words(pages("usual"))
    assert "fanout 0.1.0, libcurl 8.17.0" in words(pages("usual"))


def test_lanes_with_kernel_stamps_are_trusted(pages: Callable[[str], str]) -> None:
    assert "Trusted" in words(pages("two")) and "Not trusted" not in words(pages("two"))


def test_races_have_a_table_of_their_own(pages: Callable[[str], str]) -> None:
    assert 'id="races"' not in pages("usual")
    for name in ("races", "only-races"):
        assert "From races, and pooled with nothing else" in words(pages(name))
    only = parsed(pages("only-races"))
    assert [section.get("id") for section in only.iter("section")] == [
        "requests",
        "time",
        "races",
        "definitions",
        "origin",
    ]
    assert "Nothing but races was recorded" in words(pages("only-races"))


def test_an_open_loop_shows_responses_and_a_closed_one_says_what_it_is(pages: Callable[[str], str]) -> None:
    assert "Time to the end (response)" in words(pages("open-loop"))
    assert "Time to the end (end to end)" in words(pages("usual"))
    assert "closed loop" in words(pages("usual")) and "open loop ·" not in words(pages("usual"))


def test_without_streaming_whole_answers_are_compared(pages: Callable[[str], str]) -> None:
    said = words(pages("not-streamed"))
    assert "Time to the whole answer" in said
    assert "Time to first token Median" not in said


def test_a_percentile_of_too_few_requests_says_how_many_it_needs(pages: Callable[[str], str]) -> None:
    assert "needs 368" in words(pages("usual"))
    assert "1 of the 6 that it needs" in words(pages("one"))


def test_an_infinite_percentile_says_what_it_is_known_to_exceed(pages: Callable[[str], str]) -> None:
    root = parsed(pages("all-failed"))
    table = root.find(".//section[@id='overview']/div[@class='scroll']/table")
    assert table is not None
    cells = [cell.text or "" for cell in table.iter("td")]
    assert any(cell.startswith(">") for cell in cells)


def test_the_data_behind_a_distribution_are_those_of_the_records(pages: Callable[[str], str]) -> None:
    records = [record for record in usual() if record.lane == "local"]
    firsts = sorted(record.times[0] for record in records)
    [row] = [
        row
        for figure in parsed(pages("usual")).iter("figure")
        if figure.findtext("figcaption/h3") == "Time to first token" and figure.find("ul") is not None
        for row in figure.iter("tr")
        if row.findtext("th") == "local"
    ]
    cells = [cell.text for cell in row.iter("td")]
    assert cells[0] == str(len(records))
    assert cells[3] == f"{firsts[30] * 1000:.1f} ms"
