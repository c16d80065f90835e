"""The services that a name of fanout.toml stands for, so that a conversation is not continued with others unasked."""

from collections.abc import Iterator, Mapping, Sequence

from fanout.abc import Policy
from fanout.catalog.config import Config, distrust
from fanout.catalog.lookup import LaneSpec, resolve
from fanout.catalog.spec import Spec

Meanings = Mapping[str, Sequence[str]]
"""For each name its lanes' services, one a lane: the provider, its address, and the proxy if the lane has its own."""


def find_meanings(specs: Sequence[str], config: Config) -> dict[str, list[str]]:
    """Returns the meanings of the names among the specs. Raises UsageError as `resolve` does."""
    names = dict.fromkeys(Spec.of(text).name for text in specs)
    return {
        name: list(_services(resolve(name, config))) for name in names if name in config.lanes or name in config.groups
    }


def check_meanings(specs: Sequence[str], config: Config, before: Meanings) -> None:
    """Raises UsageError where a project's file would have a conversation continued with other services than before."""
    theirs = [text for text in specs if {f"lanes.{Spec.of(text).name}", f"groups.{text}"} & {*config.untrusted}]
    for name, services in find_meanings(theirs, config).items():
        if before.get(name) != services:
            file = config.untrusted.get(f"lanes.{name}") or config.untrusted[f"groups.{name}"]
            was = ", ".join(before.get(name, ())) or "was no part of that run"
            raise distrust(
                f"{file} would get the last conversation by the name {name!r}, which now is {', '.join(services)} and "
                f"then {was}"
            )


def _services(plan: LaneSpec | Policy) -> Iterator[str]:
    if isinstance(plan, Policy):
        for lane in plan.plans:
            yield from _services(lane)
    else:
        proxy = f" by way of {plan.proxy.address or 'no proxy'}" if plan.proxy else ""
        yield f"{plan.provider.name} at {plan.provider.base_url}{proxy}"
