from html.parser import HTMLParser

import pytest

from fanout.answers import Answer, Run, Wasted
from fanout.errors import ServerError
from fanout.events import Status, Usage
from fanout.prompt import ToolUse


class Tags(HTMLParser):
    """The tags and the text of a page; one that is not closed fails."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = '</div><script>alert(1)</script><img src="https://a.test/x.png"> ![](https://a.test/y.png) <b onclick="x">'


def run(*answers: Answer, winner: Answer | None = None) -> Run:
    return Run(answers, winner, Wasted(), 1.0)


def test_a_run_is_columns_and_its_winner_is_marked() -> None:
    good = Answer("good", status=Status.FINISHED, text="Yes.\nIndeed.", ttft=0.25, elapsed=1.5, usage=Usage(output=2))
    bad = Answer("bad", status=Status.FAILED, error=ServerError("no such luck"))
    page = Tags(run(bad, good, winner=good)._repr_html_())
    assert "good has won" in page.text
    assert "bad has won" not in page.text
    assert "Yes.\nIndeed." in page.text
    assert "finished · TTFT 0.25 s · 1.50 s · 2 tok" in page.text
    assert "no such luck" in page.text


def test_an_answer_shows_itself_also_while_it_runs() -> None:
    assert "waits" in Answer("a")._repr_html_()
    assert "runs" in Answer("a", chunks=1, text="so far")._repr_html_()


@pytest.mark.parametrize("field", ["lane", "text", "reasoning", "refusal"])
def test_what_a_service_says_is_text_and_never_markup(field: str) -> None:
    page = Tags(Answer(**{"lane": "a", field: HOSTILE})._repr_html_())  # type: ignore[arg-type]
    assert HOSTILE in page.text
    assert set(page.tags) <= {"div", "b", "code"}
    assert page.attributes == {"style"}


def test_calls_and_errors_are_text_too() -> None:
    answer = Answer("a", tool_calls=(ToolUse("1", HOSTILE, HOSTILE),), error=ServerError(HOSTILE))
    page = Tags(answer._repr_html_())
    assert page.text.count("<script>") >= 3
    assert set(page.tags) <= {"div", "b", "code"}


def test_nothing_turns_the_direction_of_a_line_and_nothing_is_a_control() -> None:
    page = Answer(
        "a", text="abc\u202egpj.exe\x1b[31m\x00\u2066 \U0001f468\u200d\U0001f469\u200d\U0001f467"
    )._repr_html_()
    assert not {"\u202e", "\x1b", "\x00", "\u2066"} & set(page)
    assert "\U0001f468\u200d\U0001f469\u200d\U0001f467" in page
