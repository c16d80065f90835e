import os

import pytest

from fanout.cli import pictures
from fanout.cli.pictures import Picture, give_cursor_back


class Drawn(Picture):
    """Counts how often it was taken away."""

    cleared = 0

    def clear(self) -> None:
        self.cleared += 1


def test_a_picture_is_among_those_shown_until_it_is_left_and_is_wiped_then() -> None:
    with Drawn() as picture:
        assert pictures.shown == [picture]
    assert (pictures.shown, picture.cleared) == ([], 1)


def test_a_picture_is_away_as_long_as_somebody_holds_it() -> None:
    picture = Drawn()
    with picture.hold():
        with picture.hold():
            assert picture.away
        assert (picture.away, picture.cleared) == (True, 2)
    assert not picture.away


def test_the_cursor_is_given_back_only_where_there_is_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[int, bytes]] = []
    monkeypatch.setattr(os, "isatty", lambda descriptor: descriptor == 1)
    monkeypatch.setattr(os, "write", lambda *call: written.append(call))
    give_cursor_back()
    assert written == []
    with Drawn():
        give_cursor_back()
    assert written == [(1, b"\r\x1b[K\x1b[?25h")]
