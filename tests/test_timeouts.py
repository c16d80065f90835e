from math import inf

from fanout.timeouts import DEFAULTS, Timeouts


def test_clocks_left_unset_come_from_below_and_infinity_switches_off() -> None:
    assert Timeouts(first=1).over(DEFAULTS) == Timeouts(connect=5, first=1, idle=30, total=600, min_tps=0)
    assert Timeouts(first=inf).over(DEFAULTS).first == inf
