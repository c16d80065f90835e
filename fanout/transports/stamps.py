"""The time at which bytes arrived, as a transport tells it to receivers that want to know: for measurements."""

from typing import Protocol, TypeGuard

from attrs import define

from fanout.abc import Receiver


@define
class Stamp:
    """When the bytes of one read arrived, in Trio's time.

    `first` and `last` are the stamps of the oldest and the newest byte, `seen` is when we looked, just before the read.
    Without `kernel` they are all the same. `after` is when the read was over, if it brought bytes that came after the
    look. `shared` says that the connection carried other responses too: the stamps are those of all together.
    """

    first: float
    last: float
    seen: float
    kernel: bool = True
    after: float | None = None
    shared: bool = False


class StampedReceiver(Receiver, Protocol):
    """A receiver that wants stamps, from a transport that takes them."""

    def sent(self, at: float, connect: float | None, tls: float | None, /) -> None:
        """The request goes out at this Trio time; called again when it is known better, and then it counts.

        `connect` and `tls` are the seconds that the connection and its TLS took, None where there was none to open.
        """
        ...

    def stamped(self, stamp: Stamp, /) -> None:
        """What `head` and `data` are told next arrived then. It holds for one `data`; without it nothing is known."""
        ...


def wants_stamps(receiver: Receiver) -> TypeGuard[StampedReceiver]:
    """Whether it is a StampedReceiver: `isinstance` would look at all of the protocol's names, for every request."""
    return hasattr(receiver, "stamped")
