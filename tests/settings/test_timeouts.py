from math import inf

from fanout.settings.timeouts import DEFAULTS, LATE, Leniency, Timeouts


def test_clocks_left_unset_come_from_below_and_infinity_switches_off() -> None:
    assert Timeouts(first=1).over(DEFAULTS) == Timeouts(connect=5, first=1, idle=30, total=600, min_tps=0)
    assert Timeouts(first=inf).over(DEFAULTS).first == inf


def test_time_is_given_back_three_times_and_not_for_what_is_usual() -> None:
    leniency = Leniency()
    assert [leniency.pardon(late) for late in (LATE / 2, LATE, 7, LATE / 2, 8, 9)] == [0, LATE, 7, 0, 8, 0]
