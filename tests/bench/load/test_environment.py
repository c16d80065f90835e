"""The environment of a run."""

import json
import platform
import time

import trio

from fanout.bench.load.environment import Strain, environment


def test_it_names_versions_machine_and_clock_and_no_path_or_name_of_the_machine() -> None:
    told = environment()
    assert told["versions"]["python"].count(".") == 2
    assert told["versions"]["trio"]
    assert told["machine"]["processors"] >= 1
    assert "monotonic" in told["clock"]["name"].lower()
    assert platform.node() not in json.dumps(told)


async def test_a_loop_that_is_blocked_is_late_and_busy() -> None:
    strain = Strain()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(strain.watch)
        for _ in range(3):
            await trio.sleep(0.04)
            until = time.monotonic() + 0.08
            while time.monotonic() < until:
                pass
        await trio.sleep(0.06)
        nursery.cancel_scope.cancel()
    measured = strain.figures()
    assert measured["lag_max"] is not None
    assert measured["lag_max"] > 0.02
    assert measured["cpu_share"] is not None
    assert measured["cpu_share"] > 0.1


async def test_without_a_look_nothing_is_known() -> None:
    assert Strain().figures()["lag_p99"] is None
