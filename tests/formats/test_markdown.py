import pytest
from attrs import evolve
from markdown_it import MarkdownIt
from markdown_it.token import Token

from fanout.formats.markdown import Markdown, escape, fence_text, tame
from tests.formats.runs import NOBODY, RUN, WON

GOLDEN = """\
# Prompt

```text
Why?
```

# Lanes

| lane | state | first words | total | speed | tokens | cost |
|---|---|--:|--:|--:|--:|--:|
| a (winner) | finished | TTFT 0.25 s | 1.25 s | 10.0 tok/s | 11 |  |
| b | cancelled | TTFT 0.50 s | 1.25 s |  | ~2 |  |
| c | failed |  | 0.10 s |  |  |  |
| d | timed out |  | 1.00 s |  |  |  |

Wasted on losers: 2 tok.

## a (winner)

Blue.
Very.

## b

Because

## c

auth (401): no key: set C\\_KEY

## d

timeout: no content within 1 s
"""


def test_a_run_is_a_document() -> None:
    assert Markdown("Why?").run(RUN) == GOLDEN


def test_without_a_winner_the_reasons_remain() -> None:
    document = Markdown("Why?").run(NOBODY)
    assert "winner" not in document
    assert "no key: set C\\_KEY" in document


def parse(text: str) -> list[Token]:
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [token for outer in tokens for token in (outer, *(outer.children or ()))]


def test_an_answer_is_rendered_with_its_headings_below_the_lane_s() -> None:
    text = "# Sky\n\nIt *is* blue:\n\n* one\n\nWhy\n---\n\n```py\n# a comment ![x](y)\n```\n\n> ## quoted"
    assert tame(text) == (
        "### Sky\n\nIt *is* blue:\n\n* one\n\n#### Why\n\n```py\n# a comment ![x](y)\n```\n\n> #### quoted"
    )


HOSTILE = {
    "a picture": "![x](https://example.com/leak)",
    "a picture by reference": "![x][r]\n\n[r]: https://example.com/leak",
    "a picture in a link": "[![a](b)](c)",
    "a tag": "<img src=x> and <b>",
    "a block": "<div>\n# forged\n</div>",
    "a comment that does not end": "<!-- x\n\n# forged\n\n> <img src=x>\n\n![x](y)",
    "a script": "<script>\n\n![x](y)\n",
    "a code span around a tag": 'a <a title="`"> ![x](y) ` b',
    "backticks that do not match": "`` ![x](y) ` <b>",
    "an escaped escape": "\\\\![x](y) \\\\<b>",
    "a fence that does not end": "```\n# not a heading",
    "a fence of tildes that does not end": "~~~~ x\ny\n~~~",
    "a fence in a list": "- ```\n  x\n\ny",
    "a heading underlined": "forged\nagain\n===",
    "a heading with other line ends": "x\r# forged\r\n## too",
    "a table": "| a | b |\n|---|---|\n| ![x](y) | <b> |",
    "entities": "&lt;b&gt; &#33;[x](y)",
    "an autolink": "<https://example.com/`x> ![x](y) `",
    "deep": "> - > # forged\n> - > ![x](y)",
    "a fence within a fence": "````\n```\n![x](y)\n````\n# forged\n`````",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_answer_draws_a_picture_writes_html_or_leaves_its_place(kind: str) -> None:
    hostile = evolve(WON, text=HOSTILE[kind])
    document = Markdown("Why?").run(evolve(RUN, winner=None, answers=(hostile, evolve(WON, lane="z", text="END"))))
    tokens = parse(document)
    assert not {"image", "html_inline", "html_block"} & {token.type for token in tokens}
    tops = [
        tokens[at + 1].content for at, token in enumerate(tokens) if token.tag in ("h1", "h2") and token.nesting == 1
    ]
    assert tops == ["Prompt", "Lanes", "a", "z"]
    assert [token.content for token in tokens if token.type == "inline"][-1] == "END"


def test_a_prompt_cannot_break_out_of_its_fence() -> None:
    hostile = "```\n# forged\n`````\n~~~\n| a | b |\n![x](https://example.com/leak)"
    fenced = [token.content for token in parse(Markdown(hostile).run(RUN)) if token.type == "fence"]
    assert fenced == [hostile + "\n"]


def test_figures_are_not_escaped() -> None:
    assert "\\" not in "".join(line for line in Markdown("x").run(RUN).splitlines() if line.startswith("| "))


def test_into_a_pipe_goes_what_came() -> None:
    khmer = evolve(WON, text="\u17d2\u178f\u17b8\u200b\u1796")
    run = evolve(RUN, winner=khmer, answers=(khmer,))
    assert khmer.text in Markdown("\u200b?", safe=False).run(run)
    assert "\x1b" not in Markdown("\x1b[1m").run(evolve(run, answers=(evolve(WON, text="\x1b[31mred"),)))


def test_a_lane_s_name_cannot_break_the_table() -> None:
    document = Markdown("Why?").run(evolve(RUN, winner=None, answers=(evolve(WON, lane="a|b\n# c <i>"),)))
    assert "| a\\|b \\# c \\<i\\> | finished |" in document


def test_marks_are_escaped_and_controls_dropped() -> None:
    assert escape("*a* [b](c) \x1b[31m`d`") == r"\*a\* \[b\](c) \`d\`"
    assert (escape("- a"), escape("1. a"), escape("0.25 s")) == (r"\- a", r"1\. a", "0.25 s")
    assert fence_text("x") == "```text\nx\n```"


def test_a_note_stands_before_its_answer_escaped() -> None:
    noted = evolve(WON, notes=("a part is a *hologram*",))
    document = Markdown("Why?").run(evolve(RUN, answers=(noted,), winner=noted))
    assert "## a (winner)\n\na part is a \\*hologram\\*\n\nBlue." in document
