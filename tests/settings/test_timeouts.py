from math import inf

from fanout.settings.timeouts import DEFAULTS, LATE, STOPPED, Leniency, Timeouts, forgive


def test_clocks_left_unset_come_from_below_and_infinity_switches_off() -> None:
    assert Timeouts(first=1).over(DEFAULTS) == Timeouts(connect=5, first=1, idle=30, total=600, min_tps=0)
    assert Timeouts(first=inf).over(DEFAULTS).first == inf


def test_time_is_given_back_three_times_and_not_for_what_is_usual() -> None:
    leniency = Leniency()
    lates = (LATE / 2, LATE, 0.7, LATE / 2, 0.8, 0.9)
    assert [leniency.pardon(late, 9) for late in lates] == [0, LATE, 0.7, 0, 0.8, 0]


def test_no_clock_is_given_more_than_it_was_set_to_and_after_a_stop_all_of_that() -> None:
    assert [forgive(late, 5) for late in (LATE / 2, 0.9, STOPPED, 3, 40)] == [0, 0.9, 5, 5, 5]
    assert [forgive(late, 0.25) for late in (0.2, 0.9, 40)] == [0.2, 0.25, 0.25]
