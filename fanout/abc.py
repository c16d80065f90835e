"""The seams: what a provider, a framing, a transport, a policy and a lane must be.

A provider speaks a service's language and does no I/O: a Prompt in, a Request out; bytes in, events out. A transport
carries bytes and nothing else. A policy decides who starts and who has lost, and does no I/O either. A lane is
anything that can run, be cancelled, and end.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeVar, Unpack

from attrs import field, fields_dict, frozen

from fanout.addresses.proxy import Proxy, as_proxy
from fanout.answers import Answer, Run
from fanout.answers.verdicts import Verdict
from fanout.credentials import Credentials
from fanout.credentials.secret import Secret
from fanout.errors import ProviderError, TimedOut
from fanout.events import CONTENT, Event, Status
from fanout.prompt import Prompt

if TYPE_CHECKING:
    from fanout.schema import Form, Schema


@frozen
class Request:
    """One HTTP request. Header names are lower case; credentials among the values are Secrets until they are sent.

    `url` goes out byte for byte as it is: a service may have its query signed. `impersonate` names a browser that the
    connection should look like ("chrome"), for transports that can. `proxy` is the proxy to go through, or NO_PROXY for
    none at all; None leaves it to the environment's variables. Its URL may be given as a str or as a Secret.
    """

    method: str
    url: str
    headers: Mapping[str, str | Secret] = field(factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    impersonate: str | None = None
    proxy: Proxy | None = field(default=None, converter=as_proxy)

    def plain_headers(self) -> dict[str, str]:
        """The headers as they go over the wire, credentials in clear: for transports, at the moment of sending."""
        return {name: v.reveal() if isinstance(v, Secret) else v for name, v in self.headers.items()}


@frozen
class Head:
    """The beginning of a response. Header names are lower case; of a repeated name the last value is kept.

    `set_cookie` holds the values of all Set-Cookie headers; `reason` is the reason phrase of HTTP/1.
    """

    status: int
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    set_cookie: tuple[str, ...] = field(default=(), repr=False)
    reason: str = ""


@frozen
class Reply:
    """A response read whole, for a provider that needs several round trips before the answer."""

    head: Head
    body: bytes = field(repr=False)


Frame = TypeVar("Frame")
Flow = Generator[Request, Reply, Request]
"""Yields a request, is sent its reply, and returns the request whose reply is the answer."""


class Framing(Protocol[Frame]):
    """Cuts bytes into frames. Bytes may be cut anywhere, also within a character.

    `feed` and `close` return the frames that are complete, and raise nothing: bad input sets `error`, the frames
    before it are returned, and nothing comes after it.
    """

    error: ProviderError | None

    def feed(self, data: bytes, /) -> list[Frame]:
        """Takes the bytes of one read and returns the frames they complete."""
        ...

    def close(self) -> list[Frame]:
        """The input is over; returns what its end completes."""
        ...


class Reader(Protocol):
    """Reads one response into events; the last event is one End, and nothing follows it."""

    complete: bool
    """True once the protocol's end mark has been seen: the answer stays whole whatever happens next."""

    def feed(self, data: bytes, /) -> list[Event]:
        """Takes the bytes of one read and returns their events."""
        ...

    def close(self, error: ProviderError | None = None, /) -> list[Event]:
        """The body is over, or `error` cut it off; returns what is left, with the End unless `feed` gave it."""
        ...


@frozen
class Access:
    """The way to a service that a lane takes, as the catalog found it: what a provider is made from.

    `key` is what one of the variables `key_env` holds. `models_url` is where the models are listed, if that is in no
    usual place. `quirks` name the ways in which the service differs from others on its wire. `given` are the lane's
    settings that only some providers know, by name.
    """

    name: str
    model: str | None
    base_url: str
    key: Secret | None = field(default=None, repr=False)
    key_env: tuple[str, ...] = ()
    needs_key: bool = True
    credentials: Credentials | None = field(default=None, repr=False)
    models_url: str | None = None
    quirks: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(factory=dict)


SchemaForm = Literal["enforced", "sent", "told"]
"""A service writes only what fits a schema (enforced), is asked to (sent), or reads of it in its prompt (told)."""


@cache
def _fields_of(kind: Any) -> frozenset[str]:
    """Returns the names of an attrs class's fields; attrs makes them anew each time, ten times for a lane."""
    return frozenset(fields_dict(kind))


@cache
def _shared_fields(kind: Any) -> frozenset[str]:
    """Returns the names of the fields of a kind of provider that Access has too."""
    return _fields_of(Access) & _fields_of(kind)


class Provider(ABC):
    """Speaks one service's language. It holds configuration only, so one object may serve many lanes at once.

    A service with one round trip defines `request` and `read`; one with several overrides `flow` in place of
    `request`.
    """

    name: str
    model: str | None

    base_url: str = ""
    """The address of the service, below which all requests go; empty for a provider that has none."""

    credentials: Credentials | None = None
    """The login that requests carry. When the service refuses it, a lane goes on with others in this field."""

    takes_login: ClassVar[bool] = True
    """False for a provider that no `credentials` can help: where it raises LoginRequired, none are looked for."""

    @classmethod
    def from_access(cls, access: Access, **more: Any) -> Self:
        """Makes the provider of a lane from `access` and `more`, which give its fields of the same names.

        A provider that knows more of its service, or has settings for its quirks, adds them to `more`.
        """
        values = {name: getattr(access, name) for name in _shared_fields(cls)}
        values |= {name: value for name, value in (*access.given.items(), *more.items()) if cls.takes(name)}
        return cls(**values)

    @classmethod
    def takes(cls, setting: str) -> bool:
        """Tells whether a setting of this name is one of the provider's fields."""
        return setting in _fields_of(cls)  # an attrs class, where the catalog makes it

    @property
    def schema_form(self) -> SchemaForm:
        """The way that a schema takes to the service in this form of the provider."""
        return "sent"

    @property
    def maker(self) -> Mapping[str, Any]:
        """The mark of what this provider's answers hold for their own service alone: its wire, address and model.

        Nothing that carries another mark goes into a request of this provider.
        """
        wire = type(self).__name__.lower()
        return {"wire": wire, "service": self.base_url.rstrip("/"), "model": self.model}

    def request(self, prompt: Prompt) -> Request:
        """The request that asks `prompt`. Raises ProviderError if it cannot be asked, e.g. AuthError without a key."""
        # The author's mistake: every lane with this provider ends with an InternalError.
        raise NotImplementedError(f"{type(self).__name__} defines neither request nor flow")

    def flow(self, prompt: Prompt) -> Flow:
        """All the round trips; this one has only the last."""
        yield from ()  # makes this a generator, like those with more trips
        return self.request(prompt)

    @abstractmethod
    def read(self, head: Head, request: Request | None = None) -> Reader:
        """Makes the Reader for a response with this head, whatever its status.

        `request` is the one that is answered, of which a reader may need to know more than its service repeats. A lane
        always gives it; who reads a recording may have none.
        """

    def adapted(self, error: ProviderError) -> "Provider | None":
        """Another form of this provider that may get past `error`, or None: some services refuse what others demand."""
        return None

    def farewell(self, request: Request, reader: Reader | None) -> Request | None:
        """Returns what stops a service whose lane is cut off while it answers `request`; None: nothing does.

        `reader` is what was reading the answer, if it had begun.
        """
        return None

    def renewed(self, head: Head) -> Credentials | None:
        """The credentials with what a successful response renewed of them, to be kept; None if it renewed nothing."""
        return None

    def models_request(self) -> Request | None:
        """The request that lists this service's models, or None if it has no such list."""
        return None

    def models(self, reply: Reply) -> list[str]:
        """The model names in the reply to `models_request`. Raises ProviderError if it holds none."""
        # As in `request`: who asks for models has seen that there is a request for them.
        raise NotImplementedError(f"{type(self).__name__} lists no models")


class Receiver(Protocol):
    """Is told what arrives, synchronously, inside the transport's read."""

    def head(self, head: Head, /) -> None:
        """Called once, before any data."""
        ...

    def data(self, data: bytes, /) -> bool:
        """Called once a read. True says that the answer is complete and the rest of the body is of no interest."""
        ...


class Transport(Protocol):
    """Carries bytes."""

    async def exchange(self, request: Request, receiver: Receiver, connect: float) -> None:
        """Sends `request`, tells `receiver` of the response, and returns when its body is over.

        Or when the receiver has enough: then the rest of the body is read on for a moment at most, so that the
        connection can be used again. At most `connect` seconds may pass until there is a connection. Content codings
        are undone, redirects are not followed. Raises ProviderError when the bytes did not arrive; what `receiver`
        raises passes through. Cancelled, or left by an exception, it has closed the connection (or reset the stream).
        """
        ...


class Standing(Protocol):
    """The part of a lane that a policy may know."""

    @property
    def status(self) -> Status | None:
        """The status of the lane's End; None while it waits or runs."""
        ...

    @property
    def lost(self) -> bool:
        """True if the policy has said that this lane lost."""
        ...

    @property
    def place(self) -> int:
        """1 for the first lane of the group that ended, 2 for the next; 0 while it has not."""
        ...

    @property
    def good(self) -> bool:
        """True if the lane has finished, the policy's `accept` has taken its answer, and it has not lost."""
        ...

    @property
    def answer(self) -> Answer:
        """The lane's answer so far."""
        ...


Accept = Callable[[Answer], bool | Awaitable[bool]]
"""Tells whether an answer is good. An async one is awaited under the clocks of the answer's lane.

To raise Refused, or a ValueError (as json and pydantic do), is another way to say no, with the reason; any other
exception is the caller's, and comes out of the call that runs the plan.
"""

Waiting = Callable[[Awaitable[bool]], Awaitable[bool]]
WAITING: ContextVar[Waiting | None] = ContextVar("waiting", default=None)
"""Awaits, in place of the engine, the verdict of an async `accept` that belongs to another loop; None: it is Trio's."""

OnLose = Literal["cancel", "keep"]
"""The fate of a lane that has lost: it is cut off at once, or runs on to its end and is counted as waste."""


class Policy(ABC):
    """Decides over lanes, and does no I/O. It holds them too, so it is a plan: `Race("a/x", Fallback("b/y", "c/z"))`.

    `pace` is the number of seconds that the lanes must have been silent, since the last start or the last content,
    before the next one starts: 0 all at once, infinity only after a failure. Whatever it is, a running lane that fails,
    or that has lost, starts the next at once. `retries` is how often a lane is tried again, unless the lane says
    otherwise. `deadline` is the number of seconds that all the lanes together may take; `on_lose` None leaves the
    choice to the call. `accept` is asked once about each answer, before `losers` hears that its lane has finished; None
    takes all. Before that an answer must fit the `schema`; without one, that of the plan around it or of the call
    holds. `waits` is False for a policy that may choose before an answer is whole, which no schema can judge.
    """

    undecided: ClassVar[str] = ""
    """The reason why good answers did not win where none has; they are kept all the same. Empty: they are not."""

    accept: Accept | None = None
    schema: "Schema | None" = None
    waits: bool = True

    pace: float = 0.0
    percentile: float | None = None
    """The share of a lane's requests that have spoken by the time the next starts; None: `pace` holds for all."""
    budget: float = inf
    """The hedges a request at most, where the delay is learnt."""
    explore: float | None = None
    """The probability that another lane goes first than the fastest; None: they start in the order of the plan."""
    on: str = "finish"
    """The event that wins, by which latencies are learnt: a whole answer, or a first word."""
    retries: ClassVar[int] = 1
    chooses: ClassVar[bool] = True
    """True if it chooses a winner."""

    heeds: frozenset[type] | None = None
    """The kinds of events that `losers` is asked about; None: all. A burst brings hundreds of pieces in one read."""

    speech: frozenset[type] = CONTENT
    """The kinds of content with which a lane is not silent, so that the wait for the next lane begins anew."""

    def __init__(
        self, *lanes: Any, deadline: float = inf, on_lose: OnLose | None = None, **form: Unpack["Form"]
    ) -> None:
        self.lanes = lanes
        self.deadline = deadline
        self.on_lose = on_lose
        if form:
            from fanout.schema import Form, Schema  # noqa: PLC0415  # few plans have one

            if unknown := form.keys() - Form.__annotations__.keys():
                raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {min(unknown)!r}")
            self.schema = Schema.of(form)

    @property
    def plans(self) -> tuple[Any, ...]:
        """All that is asked by this plan: its lanes, and those besides whose answers are none of a lane, as a judge."""
        return self.lanes

    def needs_next(self, lanes: Sequence[Standing], started: int) -> bool:
        """Tells whether the next lane is to start at once, whatever the pace, when the first `started` have."""
        return False

    def tally(self, lanes: Sequence[Standing]) -> Mapping[str, Sequence[int]]:
        """Returns the lanes that voted for each answer, the most first, if lanes vote."""
        return {}

    @abstractmethod
    def losers(self, lane: int, event: Event, lanes: Sequence[Standing]) -> Collection[int]:
        """Returns the lanes that have lost, now that `event` has just happened in `lane`.

        It is asked about one event after the other, however many came in one read, and of a lane that has lost about
        none. A lane that has ended may be among the losers: its answer is refused, which counts as a failure.
        """

    def winner(self, lanes: Sequence[Standing]) -> int | None:
        """Returns the lane whose answer is the group's, from the verdict on: the first that is good, if any."""
        kept = [(s.place, i) for i, s in enumerate(lanes) if s.good]
        return min(kept)[1] if kept else None

    def open_hearing(self) -> "Hearing | None":
        """Returns the questions that one run puts to judges where no lane has won; None: this policy has none."""
        return None


class Hearing(Protocol):
    """The questions that one run puts to judges about the answers of its lanes: who is asked, what, and what they said.

    It does no I/O. `plans` are the judges, each a plan that is asked once at most; judges and answers go by their
    numbers. `writer` is the judge whose own answer is the run's, if one is. `best` is the number of the answer that
    won, `verdicts` what judges said, `analysis` what they found. Of a deadline, judges have the last `share`: lanes
    that still run then are cut off, once one has answered.
    """

    plans: Sequence[Policy]
    share: float
    writer: int | None
    best: int | None
    verdicts: Sequence[Verdict]
    analysis: Mapping[str, Any] | None

    @property
    def over(self) -> bool:
        """True once no judge is to be waited for."""
        ...

    def wait(self, good: int, elapsed: float) -> float | None:
        """Returns the seconds that others still have when `good` lanes have answered after `elapsed`; None: all."""
        ...

    def choose(self, lanes: Sequence[Standing]) -> Sequence[int]:
        """Returns the lanes whose answers judges are to see, the first that finished before the others."""
        ...

    def ask(self, prompt: Prompt, answers: Sequence[Answer]) -> Mapping[int, Prompt]:
        """Returns the first questions about these answers to `prompt`, by judge."""
        ...

    def take(self, judge: int, answer: Answer, error: ProviderError | None) -> Mapping[int, Prompt]:
        """Takes a judge's answer, or why it counts for nothing, and returns the questions that follow."""
        ...


class Login(Protocol):
    """Gets and keeps the credentials of services that people log in to."""

    async def renew(self, provider: Provider, refused: Credentials | None) -> Credentials | None:
        """Other credentials than those that were `refused` (None: there were none), or None if there are none to get.

        May wait for a person. Raises ProviderError when a login was tried and failed.
        """
        ...

    async def keep(self, credentials: Credentials) -> None:
        """Stores credentials that a service renewed, unless others have been stored meanwhile."""
        ...


class Observed(Protocol):
    """A lane with one provider, as an observer sees it."""

    name: str

    @property
    def provider(self) -> Provider:
        """The provider of its last try, with the key and in the form that it used."""
        ...

    @property
    def prompt(self) -> Prompt | None:
        """The prompt as it is put to the service, with the lane's options; None before the lane has started."""
        ...

    @property
    def tries(self) -> int:
        """The number of its tries so far."""
        ...

    @property
    def answer(self) -> Answer:
        """The answer so far."""
        ...


class Observer(Protocol):
    """Whoever wants to know of lanes and runs, and decides nothing: a log, what is learnt of services, metrics, traces.

    It is told at once, in the lane's own task, and must not take long. What it raises is logged, and breaks no run.
    """

    def lane_started(self, lane: Observed, at: float, /) -> None:
        """The lane starts at `at` (a Trio time); a lane that never starts is not told of."""
        ...

    def lane_ended(self, lane: Observed, at: float, /) -> None:
        """The lane, which started before, has its End; who has won is not decided yet."""
        ...

    def run_ended(self, run: Run, lanes: Sequence[Observed], at: float, /) -> None:
        """The run is over, also if it was cut off from outside; `lanes` are in the order of its answers."""
        ...


Hear = Callable[[Sequence[Event], float], None]
"""Called by a lane with the events of one read and their time, synchronously."""

Leave = Callable[[], None]
"""Called by a lane that is cancelled from outside, before its End: all lanes that run beside it are left with it."""


Alone = Callable[[], bool]
"""Asked by a lane: True if no other lane that runs beside it, or may still start, could give the answer."""


class Lane(Protocol):
    """Anything that can run, be cancelled, and end. It never raises for what a service did.

    Whoever it belongs to sets `hear` and `leave`. The last events that `hear` is told of are one End, also of a lane
    that was cancelled before it started. What `hear` raises comes out of the call that brought the events.
    """

    name: str
    hear: Hear
    leave: Leave
    alone: Alone

    @property
    def answer(self) -> Answer:
        """The answer so far; a group's is that of its winner."""
        ...

    @property
    def due(self) -> float:
        """The Trio time until which the lane of that answer may take."""
        ...

    async def run(self, prompt: Prompt, until: float) -> None:
        """Runs to the End, which comes at `until` (a Trio time) at the latest."""
        ...

    def cancel(self, error: TimedOut | None = None, /) -> None:
        """Ends the lane now: cancelled, or timed out if `error` says so. Its End is heard before this returns."""
        ...

    def close(self) -> None:
        """Starts nothing new from now on: no further lane, no further try."""
        ...


def nobody(_events: Sequence[Event], _at: float, /) -> None:
    """Hears nothing: for a lane that belongs to nobody."""


def no_others() -> None:
    """Leaves nothing: for a lane that belongs to nobody."""


def not_alone() -> bool:
    """Counts on others: for a lane that belongs to nobody."""
    return False
