from math import inf

from fanout.engine.clocks import Clocks
from fanout.settings.timeouts import DEFAULTS, Timeouts


def clocks(**set_to: float) -> Clocks:
    return Clocks(Timeouts(**set_to).over(Timeouts(inf, inf, inf, inf, 0)), started=100.0)


def test_before_content_the_first_clock_is_the_next() -> None:
    assert clocks(first=5, idle=2, total=60).next_alarm() == (105.0, "first", 5)


def test_content_stops_the_first_clock_and_restarts_the_idle_one() -> None:
    lane = clocks(first=5, idle=2, total=60)
    assert lane.content(103.0, 1) is True
    assert lane.next_alarm() == (105.0, "idle", 2)
    assert lane.content(104.5, 1) is False
    assert lane.next_alarm() == (106.5, "idle", 2)


def test_the_total_clock_fires_however_much_arrives() -> None:
    lane = clocks(idle=2, total=3)
    lane.content(102.5, 1)
    assert lane.next_alarm() == (103.0, "total", 3)
    error = lane.find_fired(103.0)
    assert error and (error.clock, error.seconds) == ("total", 3)
    assert str(error) == "timeout: not finished within 3 s"


def test_nothing_fires_early() -> None:
    assert clocks(first=5).find_fired(104.999) is None


def test_a_group_deadline_comes_before_the_lanes_own_clocks() -> None:
    lane = Clocks(DEFAULTS, started=100.0, until=101.0)
    assert lane.next_alarm() == (101.0, "deadline", 1.0)


def test_a_complete_answer_is_waited_for_only_briefly() -> None:
    lane = clocks(idle=30)
    lane.content(101.0, 1)
    lane.complete_at = 101.0
    assert lane.next_alarm() == (103.0, "linger", 2)


def test_a_lane_below_its_rate_is_cut_and_one_above_is_not() -> None:
    slow, fast = clocks(min_tps=2), clocks(min_tps=2)
    for lane, tokens in ((slow, 9), (fast, 10)):
        lane.content(100.0, tokens)
    assert fast.find_fired(105.0) is None
    assert fast.next_alarm() == (110.0, "min_tps", 2)
    error = slow.find_fired(105.0)
    assert error and error.clock == "min_tps"


def test_the_rate_is_measured_window_by_window() -> None:
    lane = clocks(min_tps=2)
    lane.content(100.0, 1000)
    assert lane.find_fired(105.0) is None
    error = lane.find_fired(110.0)
    assert error and error.clock == "min_tps"


def test_a_clock_that_rings_late_goes_on_for_as_long_as_it_was_late() -> None:
    lane = clocks(first=5, idle=2)
    lane.pardon(105.5)
    assert lane.next_alarm() == (106.0, "first", 5)
    lane.content(106.0, 1)
    lane.pardon(108.75)
    assert lane.next_alarm() == (109.5, "idle", 2)


def test_after_a_stop_a_clock_begins_anew() -> None:
    lane = clocks(first=5, idle=2)
    lane.pardon(140.0)
    assert lane.next_alarm() == (145.0, "first", 5)
    lane.content(141.0, 1)
    lane.pardon(144.0)
    assert lane.next_alarm() == (146.0, "idle", 2)


def test_a_late_end_of_the_stream_is_waited_for_again() -> None:
    lane = clocks(idle=30)
    lane.content(101.0, 1)
    lane.complete(102.0)
    lane.pardon(104.5)
    assert lane.next_alarm() == (105.0, "linger", 2)
    lane.pardon(108.5)
    assert lane.next_alarm() == (110.5, "linger", 2)


def test_the_rate_is_measured_anew_after_we_were_late() -> None:
    lane = clocks(min_tps=2)
    lane.content(100.0, 1000)
    lane.pardon(140.0)
    assert lane.next_alarm() == (145.0, "min_tps", 2)
    lane.content(141.0, 9)
    error = lane.find_fired(145.0)
    assert error and error.clock == "min_tps"


def test_what_is_promised_to_the_caller_is_not_put_off() -> None:
    lane = Clocks(Timeouts(total=3, first=1).over(DEFAULTS), started=100.0, until=104.0)
    lane.pardon(140.0)
    assert lane.next_alarm() == (103.0, "total", 3)
    assert (lane.started + lane.late + 1, lane.until) == (141.0, 104.0)


def test_all_clocks_that_ring_late_are_put_off_at_one_time_of_three() -> None:
    lane = clocks(min_tps=2, idle=3)
    lane.content(100.0, 100)
    for now in (110.0, 120.0, 130.0, 140.0):
        lane.pardon(now)
    assert lane.next_alarm() == (133.0, "idle", 3)
    lane.content(133.0, 1)
    assert lane.next_alarm() == (135.0, "min_tps", 2)


def test_a_clock_that_is_on_time_is_not_put_off() -> None:
    lane = clocks(first=5, idle=2)
    for now in (104.0, 105.0, 105.02):
        lane.pardon(now)
    assert lane.next_alarm() == (105.0, "first", 5)
    lane.pardon(105.5)
    assert lane.next_alarm() == (106.0, "first", 5)


def test_what_came_while_nobody_counted_is_of_the_window_that_ends_then() -> None:
    lane = clocks(min_tps=2)
    lane.content(100.0, 20)
    assert lane.find_fired(140.0) is None
    assert lane.next_alarm() == (145.0, "min_tps", 2)


def test_a_clock_that_is_due_with_the_rate_fires_though_the_rate_is_well() -> None:
    lane = clocks(min_tps=2, total=5)
    lane.content(100.0, 20)
    error = lane.find_fired(105.0)
    assert error and error.clock == "total"


def test_the_word_that_an_answer_is_complete_counts_once_and_after_content_alone() -> None:
    lane = clocks(idle=30)
    assert lane.complete(100.0) is False
    lane.content(101.0, 1)
    assert lane.complete(102.0) is True
    assert lane.complete(103.0) is False
    assert lane.next_alarm() == (104.0, "linger", 2)


def test_content_after_the_finish_begins_the_wait_for_the_end_anew() -> None:
    lane = clocks(idle=30)
    lane.content(101.0, 1)
    lane.complete(101.0)
    lane.content(102.5, 1)
    assert lane.next_alarm() == (104.5, "linger", 2)


def test_the_beginning_of_an_answer_moves_first_by_what_has_passed_beside_what_was_given_back() -> None:
    lane = Clocks(Timeouts(first=5).over(Timeouts(inf, inf, inf, inf, 0)), started=100.0, patient=True)
    lane.pardon(105.5)
    lane.begin(105.75)
    lane.begin(105.9)
    assert lane.next_alarm() == (111.75, "first", 5)
    other = clocks(first=5)
    other.begin(103.0)
    assert other.next_alarm() == (105.0, "first", 5)


def test_without_clocks_the_limit_is_the_deadline_and_there_may_be_none() -> None:
    lane = Clocks(Timeouts(), started=100.0)
    assert (lane.limit, lane.next_alarm()) == ((inf, "deadline"), (inf, "deadline", inf))
    assert Clocks(Timeouts(total=5), started=100.0, until=104.0).limit == (104.0, "deadline")
    assert Clocks(Timeouts(total=5), started=100.0, until=106.0).limit == (105.0, "total")


def test_a_deadline_that_is_late_uses_up_no_leniency() -> None:
    lane = Clocks(Timeouts(first=5).over(Timeouts(inf, inf, inf, inf, 0)), started=100.0, until=101.0)
    for _ in range(3):
        lane.pardon(103.0)
    lane.pardon(108.0)
    assert lane.late == 8


def test_of_several_late_clocks_the_latest_says_how_late_we_are() -> None:
    lane = clocks(idle=5, min_tps=2)
    lane.content(100.0, 20)
    lane.content(100.98, 20)
    lane.pardon(106.0)
    assert lane.next_alarm() == (106.0, "idle", 5)
    assert lane.find_fired(105.99) is None
