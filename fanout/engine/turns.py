"""The conversations of the lanes of a run that is over, for a later prompt."""

from collections.abc import Mapping

from fanout.answers import Answer
from fanout.engine.group import Group
from fanout.engine.staged import Staged
from fanout.events import Status
from fanout.prompt import Prompt
from fanout.prompt.history import History, Turns


def collect_turns(group: Group | Staged, answers: Mapping[str, Answer], shown: str | None) -> History | None:
    """Returns the conversations of the lanes that answered; judges were asked something else, and have none.

    Where a judge wrote the answer, all go on from that: `shown` is the lane whose words the reader saw.
    """
    judges = {attempt.name: prompt for attempt, prompt in group.judged()}
    said = {
        attempt.name: Turns.after(
            (judges.get(attempt.name) or attempt.prompt or Prompt(())).messages,
            answer.text or answer.refusal,
            answer.tool_calls,
            answer.conversation.state if answer.conversation else None,
            answer.reasoning,
            answer.opaque,
        )
        for attempt, _ in group.attempts()
        if (answer := answers[attempt.name]).status is Status.FINISHED
        and (attempt.name == shown if shown in judges else attempt.name not in judges)
    }
    usual = said.get(shown or next(iter(said), ""))
    lanes = {} if shown in judges else said
    return History(lanes, Turns(usual.messages) if usual else None) if said else None
