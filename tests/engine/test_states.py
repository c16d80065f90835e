"""The states of a lane: each legal move happens, no other can, and the documents show the table as it is."""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import product
from math import inf
from pathlib import Path
from random import Random

import pytest
import trio
from trio.testing import MockClock

from fanout.abc import Head
from fanout.engine.attempt import MOVES, Attempt, State
from fanout.engine.keys import Keys
from fanout.errors import ConnectError, TimedOut
from fanout.events import End, Event, Started
from fanout.prompt import Prompt
from fanout.settings.timeouts import Timeouts
from fanout.transports.memory import HANG, MemoryTransport, Script
from tests.engine.test_attempt import BAD, Desk, Lane, login_as
from tests.words import Words, memory, said

WALK = Path(__file__).parents[2] / "docs" / "walk.md"

Move = tuple[State, State]


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[Move]:
    """Every move that any lane makes, in their order."""
    made: list[Move] = []
    move = Attempt._move

    def recorded(self: Attempt, state: State) -> None:
        before = self.state
        move(self, state)
        made.append((before, state))

    monkeypatch.setattr(Attempt, "_move", recorded)
    return made


BUSY_THEN_SAID: list[Script] = [[1, Head(429, {"retry-after": "2"})], said("x")]


def busy_then_said() -> Lane:
    scripts = list(BUSY_THEN_SAID)
    return Lane(MemoryTransport(lambda _: scripts.pop(0)), retries=1)


async def finishes() -> None:
    await Lane(said("x")).run()


async def is_tried_again() -> None:
    await busy_then_said().run()


async def is_cancelled_before_its_start() -> None:
    Lane(said("x")).attempt.cancel()


async def is_closed_in_its_pause() -> None:
    lane = busy_then_said()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await trio.sleep(2)
        lane.attempt.close()


SCENARIOS: dict[Move, Callable[[], Awaitable[None]]] = {
    (State.WAITING, State.TRYING): finishes,
    (State.WAITING, State.ENDED): is_cancelled_before_its_start,
    (State.TRYING, State.PAUSED): is_tried_again,
    (State.TRYING, State.ENDED): finishes,
    (State.PAUSED, State.TRYING): is_tried_again,
    (State.PAUSED, State.ENDED): is_closed_in_its_pause,
}


@pytest.mark.parametrize("move", MOVES, ids=lambda move: f"{move[0].name} to {move[1].name}")
async def test_each_legal_move_is_made(move: Move, moves: list[Move], autojump_clock: MockClock) -> None:
    await SCENARIOS[move]()
    assert move in moves
    assert set(moves) <= set(MOVES)


@pytest.mark.parametrize(
    ("old", "new"), sorted(set(product(State, State)) - set(MOVES), key=str), ids=lambda state: state.name
)
def test_any_other_move_raises_and_changes_nothing(old: State, new: State) -> None:
    attempt = Lane(said("x")).attempt
    attempt.state = old
    with pytest.raises(RuntimeError, match=f"a lane that is {old.name} cannot become {new.name}"):
        attempt._move(new)
    assert attempt.state is old


def test_a_lane_can_always_end_and_never_goes_on_after_that() -> None:
    assert {old for old, new in MOVES if new is State.ENDED} == set(State) - {State.ENDED}
    assert not [new for old, new in MOVES if old is State.ENDED]


SCRIPTS: list[Script] = [
    [1, Head(429, {"retry-after": "1"})],
    [1, Head(500)],
    [1, Head(401)],
    [1, b"!busy", HANG],
    [1, b"x", 1, b"y", HANG],
    [1, b"%", HANG],
    [1, ConnectError("no route")],
    [HANG],
    said("x", "y", first=1, gap=1),
]


def random_lane(random: Random, limiter: trio.CapacityLimiter) -> Lane:
    desk = Desk(random.choice([None, login_as("good"), ConnectError("the page is gone")]), takes=1)
    provider = random.choice([Words("a"), BAD])
    transport = MemoryTransport(lambda _: random.choice(SCRIPTS))
    keys = Keys((provider, Words("b"))[: random.choice([1, 2])], login=desk)
    timeouts = random.choice([Timeouts(first=inf, idle=inf, total=inf), Timeouts(first=3), Timeouts(total=4)])
    return Lane(transport, provider, keys=keys, retries=3, timeouts=timeouts, limiter=limiter)


def cut_off_when_it_hears(lane: Lane, random: Random) -> None:
    """Now and then, whoever hears a lane stops it in that very call, as policies do."""

    def hear(events: list[Event], at: float) -> None:
        lane.hear(events, at)
        if random.random() < 0.1:
            random.choice([lane.attempt.cancel, lane.attempt.close])()

    lane.attempt.hear = hear  # type: ignore[assignment]


async def test_whatever_happens_in_whatever_order_only_legal_moves_are_made(
    moves: list[Move], autojump_clock: MockClock
) -> None:
    late = TimedOut("the group's deadline passed", clock="deadline")
    for seed in range(400):
        random = Random(seed)
        limiter = trio.CapacityLimiter(1)
        lanes = [random_lane(random, limiter) for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for lane in lanes:
                cut_off_when_it_hears(lane, random)
                nursery.start_soon(lane.run, trio.current_time() + random.choice([5, inf]))
            for lane in random.sample(lanes, 2):
                await trio.sleep(random.choice([0, 1, 1, 2, 3]))
                stops: list[Callable[[], None]] = [lane.attempt.cancel, partial(lane.attempt.cancel, late)]
                random.choice([*stops, lane.attempt.close])()
            await trio.sleep(9)
            nursery.cancel_scope.cancel()
        for lane in lanes:
            kinds = [type(event) for _, event in lane.heard]
            assert kinds.count(End) == 1 and kinds[-1] is End, seed
            assert kinds.count(Started) == lane.attempt.tries, seed
            assert lane.transport.open == 0, seed
    assert set(moves) == set(MOVES)


def diagram() -> str:
    """The table of moves as a state diagram, for docs/walk.md; its words hold no colon, which would end them."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.WAITING.name}"]
    lines += [f"    {state.name}: {state.name}, {state.value}" for state in State]
    lines += [f"    {old.name} --> {new.name}: {why}" for (old, new), why in MOVES.items()]
    return "\n".join([*lines, f"    {State.ENDED.name} --> [*]", "```"])


def test_the_diagram_in_the_documents_is_the_table_in_the_code() -> None:
    assert diagram() in WALK.read_text("utf-8"), f"docs/walk.md should hold:\n\n{diagram()}"


async def test_a_lane_shows_where_it_is(autojump_clock: MockClock) -> None:
    lane = busy_then_said()
    assert repr(lane.attempt) == "<Attempt 'a' WAITING try 0, 0 chunks>"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await trio.sleep(2.5)
        assert repr(lane.attempt) == "<Attempt 'a' PAUSED try 1, 0 chunks, 2.5 s>"
    await trio.sleep(9)
    assert repr(lane.attempt) == "<Attempt 'a' ENDED try 2, 1 chunks, 3.1 s>"


def test_a_lane_shows_where_it_was_outside_trio_too() -> None:
    attempt = Attempt("a", Words("a"), memory(a=[0.1, b"x", HANG]))

    async def main() -> None:
        with trio.move_on_after(1):
            await attempt.run(Prompt.of("?"), inf)

    assert repr(attempt) == "<Attempt 'a' WAITING try 0, 0 chunks>"
    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert repr(attempt) == "<Attempt 'a' ENDED try 1, 1 chunks, 1.0 s>"
