from typing import Any

import pytest
from trio.testing import MockClock

from fanout.abc import Request
from fanout.transports.curl.connecting import GLANCE, Connecting
from fanout.transports.curl.libcurl import Easy
from fanout.transports.curl.transfer import Transfer


@pytest.fixture
def transfers() -> Any:
    """Makes transfers that libcurl has not begun, and frees them."""
    made: list[Transfer] = []

    def make(connect: float = 0.3) -> Transfer:
        receiver: Any = None
        made.append(Transfer(Easy(), Request("POST", "http://s.test"), receiver, [], host="s.test", connect=connect))
        return made[-1]

    yield make
    for transfer in made:
        transfer.easy.close()


async def test_a_transfer_is_judged_here_only_after_a_stall(transfers: Any, mock_clock: MockClock) -> None:
    connecting, transfer = Connecting(), transfers()
    connecting.add(transfer)
    for _ in range(31):
        mock_clock.jump(0.01)
        connecting.look()
    assert await connecting.find_late() == []  # libcurl's own clock is right


async def test_a_stall_is_given_back_and_then_the_time_is_over(transfers: Any, mock_clock: MockClock) -> None:
    connecting, transfer = Connecting(), transfers()
    began = transfer.connect_by
    connecting.add(transfer)
    began = transfer.connect_by
    mock_clock.jump(1.0)
    connecting.look()
    assert transfer.connect_by == pytest.approx(began + 1.0)
    assert await connecting.find_late() == []
    for _ in range(31):
        mock_clock.jump(0.01)
        connecting.look()
    assert await connecting.find_late() == [transfer]
    connecting.forget(transfer)
    assert await connecting.find_late() == []


async def test_what_is_over_is_forgotten_a_glance_at_a_time(transfers: Any, mock_clock: MockClock) -> None:
    connecting = Connecting()
    many = [transfers() for _ in range(GLANCE + 1)]
    for transfer in many:
        connecting.add(transfer)
        transfer.wanted = False
    assert connecting.due() < float("inf")
    assert connecting.due() == float("inf")
