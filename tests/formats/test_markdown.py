from attrs import evolve
from markdown_it import MarkdownIt

from fanout.formats.markdown import Markdown, escape, fence_text
from tests.formats.runs import NOBODY, RUN, WON

GOLDEN = """\
# Prompt

```text
Why?
```

# Lanes

| lane | status | TTFT | tok/s | tokens |
|---|---|--:|--:|--:|
| a (winner) | finished | 0\\.25 s | 10\\.0 | 11 |
| b | cancelled | 0\\.50 s |  | \\~1 |
| c | failed |  |  |  |
| d | timed out |  |  |  |

Wasted on losers: 1 tokens.

# a (winner)

```text
Blue.
Very.
```

# b

```text
Because
```

# c

auth \\(401\\)\\: no key\\: set C\\_KEY

# d

timeout\\: no content within 1 s
"""


def test_a_run_is_a_document() -> None:
    assert Markdown("Why?").run(RUN) == GOLDEN


def test_without_a_winner_the_reasons_remain() -> None:
    document = Markdown("Why?").run(NOBODY)
    assert "winner" not in document
    assert "no key\\: set C\\_KEY" in document


def test_no_answer_breaks_out_of_its_fence() -> None:
    hostile = "```\n# forged\n<img src=x>\n`````\n~~~\n| a | b |\n![x](https://example.com/leak)"
    document = Markdown("Why?").run(evolve(RUN, answers=(evolve(WON, text=hostile),)))
    tokens = MarkdownIt("commonmark").enable("table").parse(document)
    assert [token.content for token in tokens if token.type == "fence"] == ["Why?\n", hostile + "\n"]
    assert not [token for token in tokens if token.type == "html_block"]
    assert len([token for token in tokens if token.type == "heading_open"]) == 3


def test_a_lane_s_name_cannot_break_the_table() -> None:
    document = Markdown("Why?").run(evolve(RUN, winner=None, answers=(evolve(WON, lane="a|b\n# c <i>"),)))
    assert "| a\\|b \\# c \\<i\\> | finished |" in document


def test_marks_are_escaped_and_controls_dropped() -> None:
    assert escape("*a* [b](c) \x1b[31m`d`") == r"\*a\* \[b\]\(c\) \`d\`"
    assert fence_text("\x1b[31mx") == "```text\nx\n```"


def test_a_note_stands_before_its_answer_escaped() -> None:
    noted = evolve(WON, notes=("a part is a *hologram*",))
    document = Markdown("Why?").run(evolve(RUN, answers=(noted,), winner=noted))
    assert "# a (winner)\n\na part is a \\*hologram\\*\n\n```text\nBlue." in document
