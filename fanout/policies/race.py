"""Race: all lanes start at once, the first good one wins and the others lose."""

from collections.abc import Callable, Collection, Sequence
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from math import inf
from typing import Any, Literal

from fanout.abc import OnLose, Policy, Standing
from fanout.answers import Answer
from fanout.errors import Refused, UsageError
from fanout.events import ANSWERING, End, Event, Reasoning, Status, is_content

On = Literal["finish", "first_token"]
Accept = Callable[[Answer], bool]

_NOT_ASYNC = "accept is called while the answer arrives and cannot wait: give it a plain function, not an async one"


def check_accept(accept: Accept | None) -> Accept:
    """Returns `accept`, or the default for None. Raises UsageError for an async function, which could not be asked."""
    if iscoroutinefunction(accept):
        raise UsageError(_NOT_ASYNC)
    return accept or has_answer


def takes(accept: Accept, answer: Answer) -> bool:
    """Tells whether `accept` takes the answer; to raise Refused is another way to say no.

    Raises UsageError where it returns a coroutine, which would be true.
    """
    try:
        taken: Any = accept(answer)
    except Refused:
        return False
    if isawaitable(taken):
        if iscoroutine(taken):
            taken.close()
        raise UsageError(_NOT_ASYNC)
    return bool(taken)


def has_answer(answer: Answer) -> bool:
    """The default `accept`: anything but an empty answer."""
    return answer.answered


class Race(Policy):
    """The first good lane wins.

    `on="finish"`: good is the first finished answer that `accept` takes; a refused one counts as a failure.
    `on="first_token"`: good is the first content; a winner that fails later is not replaced. `reasoning=False` leaves
    reasoning out of what counts as content.
    """

    def __init__(
        self,
        *lanes: Any,
        on: On = "finish",
        accept: Accept | None = None,
        reasoning: bool = True,
        deadline: float = inf,
        on_lose: OnLose | None = None,
    ) -> None:
        super().__init__(*lanes, deadline=deadline, on_lose=on_lose)
        if on not in ("finish", "first_token"):
            raise UsageError(f"on must be finish or first_token, not {on!r}")
        self.accept = check_accept(accept)
        self._first = ANSWERING | {Reasoning} if reasoning else ANSWERING
        self._on_first_token = on == "first_token"
        self.heeds = frozenset({End}) | self._first if self._on_first_token else frozenset({End})

    def losers(self, lane: int, event: Event, lanes: Sequence[Standing]) -> Collection[int]:
        """All others once this lane is good; this lane itself if its answer is refused."""
        if isinstance(event, End):
            if event.status is not Status.FINISHED:
                return ()
            if not takes(self.accept, lanes[lane].answer):
                return (lane,)
        elif not (self._on_first_token and type(event) in self._first and is_content(event)):
            return ()
        return [i for i, other in enumerate(lanes) if i != lane and not other.lost]
