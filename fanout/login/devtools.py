"""The Chrome DevTools Protocol over two byte streams: commands out, answers in, each a JSON text that a NUL ends."""

import json
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Self, TypeVar

import trio
from attrs import define, field

from fanout.errors import AuthError, ProtocolError
from fanout.errors.unwrapped import unwrapping

WRITE_LIMIT = 1.0
"""Seconds that a message may take to write. A browser that does not read for so long hangs."""

Value = TypeVar("Value")
Json = dict[str, Any]
Command = Generator[Json, Json, Value]
"""Yields a method with its parameters, is sent the result, and returns what the result means."""


class BrowserClosed(AuthError):
    """The browser has ended, or does not read what it is told."""


class CommandFailed(AuthError):
    """The browser refused a command; `code` is its reason as a number."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@define
class Messages:
    """Cuts bytes into messages, looking at each byte once however large a message is."""

    _begun: list[bytes] = field(factory=list)

    def feed(self, data: bytes) -> list[bytes]:
        """Takes the bytes of one read and returns the messages that they complete, without their NULs."""
        head, *tail = data.split(b"\0")
        self._begun.append(head)
        if not tail:
            return []
        messages = [b"".join(self._begun), *tail[:-1]]
        self._begun = [tail[-1]]
        return messages


@define(eq=False)
class _Waiter:
    """Somebody who waits for the answer to a command; None if there will be none."""

    answer: Json | None = None
    woken: trio.Event = field(factory=trio.Event)


@define(eq=False)
class DevTools:
    """The line to one browser. Any number of tasks may call at once; answers find their caller by number."""

    _out: trio.abc.SendStream
    _into: trio.abc.ReceiveStream
    problem: str = ""
    """The reason why the line is dead; empty while it is not."""
    closed: trio.Event = field(factory=trio.Event)
    """The line is dead."""
    _numbers: "count[int]" = field(factory=lambda: count(1))
    _waiters: dict[int, _Waiter] = field(factory=dict)
    _writing: trio.Lock = field(factory=trio.Lock)

    @classmethod
    @asynccontextmanager
    async def open(cls, out: trio.abc.SendStream, into: trio.abc.ReceiveStream) -> AsyncGenerator[Self, None]:
        """Talks over two streams, which stay the caller's to close."""
        tools = cls(out, into)
        with unwrapping():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tools._read)
                yield tools
                nursery.cancel_scope.cancel()

    async def call(self, command: Command[Value], session: str | None = None) -> Value:
        """Has the browser do `command`, in the page that `session` is attached to or as a whole, and gives the result.

        May be cancelled at any time: a message that was begun is still written whole. Raises BrowserClosed,
        CommandFailed, and ProtocolError if the result is not what the command expects.
        """
        if self.closed.is_set():
            raise BrowserClosed(self.problem)
        question = next(command)
        method, number, waiter = question["method"], next(self._numbers), _Waiter()
        page = {"sessionId": session} if session else {}
        self._waiters[number] = waiter
        try:
            await self._write(json.dumps({"id": number, **question, **page}).encode() + b"\0")
            await waiter.woken.wait()
        finally:
            del self._waiters[number]
        if waiter.answer is None:
            raise BrowserClosed(self.problem)
        if (refusal := waiter.answer.get("error")) is not None:
            raise CommandFailed(f"the browser refused {method}: {refusal.get('message')}", refusal.get("code", 0))
        return _finish(command, waiter.answer.get("result", {}), method)

    async def _write(self, message: bytes) -> None:
        async with self._writing:
            if not self.closed.is_set():
                # Half a message would spoil all that follow, so that no cancellation may cut one.
                with trio.move_on_after(WRITE_LIMIT, shield=True) as limit:
                    try:
                        await self._out.send_all(message)
                    except trio.BrokenResourceError:
                        self._close("the browser has ended")
                if limit.cancelled_caught:
                    self._close(f"the browser has read nothing for {WRITE_LIMIT:g} s")

    async def _read(self) -> None:
        messages = Messages()
        try:
            async for data in self._into:
                for message in messages.feed(bytes(data)):
                    self._hear(message)
        except trio.BrokenResourceError:
            pass  # as good as an end
        except ValueError:
            self._close("the browser has sent something that is not JSON")
        finally:
            self._close("the browser has ended")

    def _hear(self, message: bytes) -> None:
        """Wakes whom the message is for; nobody waits for events and for answers to cancelled calls."""
        answer = json.loads(message)
        if (waiter := self._waiters.get(answer.get("id"))) is not None:
            waiter.answer = answer
            waiter.woken.set()

    def _close(self, problem: str) -> None:
        self.problem = self.problem or problem
        self.closed.set()
        for waiter in self._waiters.values():
            waiter.woken.set()


def _finish(command: Command[Value], result: Json, method: str) -> Value:
    try:
        command.send(result)
    except StopIteration as done:
        value: Value = done.value
        return value
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(
            f"the browser's answer to {method} is not as nodriver expects it ({error!r}); another version may fit"
        ) from error
    raise ProtocolError(f"{method} takes more than one answer")
