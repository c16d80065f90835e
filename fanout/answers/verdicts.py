"""The verdict of a judge on the answers that it was shown."""

from collections.abc import Mapping

from attrs import field, frozen

from fanout.errors import ProviderError


@frozen
class Verdict:
    """One judge's word: `best` is the lane whose answer it named, `why` its reason, in its own words.

    `judge` is the judge's lane. `labels` are the lanes whose answers it was shown, under the labels by which it knew
    them, in that order. A judge that named none has an `error`.
    """

    judge: str
    labels: Mapping[str, str] = field(factory=dict)
    best: str | None = None
    why: str = ""
    error: ProviderError | None = None
