"""A load and its limits, ready to be sent."""

from attrs import frozen

from fanout.bench.load.design.order import Order
from fanout.bench.load.design.workload import Workload, mark_unique
from fanout.catalog import LaneSpec
from fanout.prompt import Options, Prompt


@frozen
class Limits:
    """The ends of one level of load, of which the first one counts; None is no end.

    `requests` a lane; `seconds` in which requests are sent (what has been sent may end); `precision` of each lane's
    median TTFT (0.05: its interval reaches 5 % to each side); `cost` of the whole run in US dollars.
    """

    requests: int | None = None
    seconds: float | None = None
    precision: float | None = None
    cost: float | None = None


@frozen
class Setup:
    """Lanes, prompts and bounds of a run. With a `salt` its prompts are unique; without, services may know them.

    `timeout` is the longest time for a request, in seconds; `warmup` the requests a stream before each level.
    """

    lanes: tuple[LaneSpec, ...]
    workload: Workload
    limits: Limits
    salt: str | None
    max_tokens: int | None = None
    timeout: float = 120.0
    order: Order = "interleave"
    warmup: int = 2
    seed: int = 0

    def prompt(self, lane: str, block: int, number: int) -> Prompt:
        """The prompt with this number, as the lane gets it in this block."""
        item = self.workload.item(number)
        prompt = item.prompt if self.salt is None else mark_unique(item.prompt, f"{self.salt}:{block}:{lane}")
        return prompt.with_options(Options(max_tokens=item.max_tokens or self.max_tokens))
