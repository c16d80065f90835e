"""The time at which bytes arrived, as a transport tells it to receivers that want to know: for measurements."""

from typing import Protocol, TypeGuard

from attrs import define

from fanout.abc import Receiver


@define
class Stamp:
    """The arrival of the bytes of one read, in Trio's time.

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

    def note_sent(self, at: float, connect: float | None, tls: float | None, /) -> None:
        """Hears that the request goes out at this Trio time. The last call counts: more is known by then.

        `connect` and `tls` are the seconds that the connection and its TLS took, None where there was none to open.
        """
        ...

    def note_stamp(self, stamp: Stamp, /) -> None:
        """Hears the arrival of what `head` and `data` are told next. It holds for one `data`; others have none."""
        ...


def wants_stamps(receiver: Receiver) -> TypeGuard[StampedReceiver]:
    """Tells a StampedReceiver. `isinstance` would look for all names of the protocol, for every request."""
    return hasattr(receiver, "note_stamp")
