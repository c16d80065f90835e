"""Standings of lanes, made by hand: policies are tested without a loop and without lanes."""

from attrs import define

from fanout.answers import Answer
from fanout.events import Status


@define(eq=False)
class Stood:
    """One lane's standing."""

    status: Status | None = None
    lost: bool = False
    place: int = 0
    text: str = "text"
    accepted: bool = True

    @property
    def good(self) -> bool:
        return self.status is Status.FINISHED and self.accepted and not self.lost

    @property
    def answer(self) -> Answer:
        return Answer("lane", status=self.status, text=self.text)
