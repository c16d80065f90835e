"""libcurl, as curl_cffi carries it: the one module that knows curl_cffi's private names.

curl_cffi's own `Curl` and `AsyncCurl` are made for asyncio and for one request at a time; what is used here is the C
library below them, with three of its callbacks. A program has one set of Python functions behind these: ours, until
somebody imports curl_cffi, from then on its own. Both find what they look for on the same objects: curl_cffi's want
`.loop`, `._timer` and `._sockfds` on what a multi handle was given, and `.callback.write` on what an easy handle was
given. tests/transports/curl/test_libcurl.py holds both to what they must do.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from struct import pack
from typing import Any, Protocol

from fanout.transports.curl.binding import load
from fanout.transports.curl.numbers import NEWEST, CurlInfo, CurlMOpt, CurlOpt

ffi, lib, ALONE = load()

IN, OUT = 1, 2
"""The events of a socket: it can be read, it can be written. A broken one has both, and fails when it is used."""

RESOLVERS = 512
"""Threads that may look up names, two for each; one whose server does not answer keeps its own for 10 s and more.

libcurl starts them as they are needed, and ends those that have had nothing to do for some seconds. Its default of 20
is used up by ten such names, and then every other name waits.
"""

TIMER = -1
"""In place of a socket: the multi's time has come."""

_setopt = lib._curl_easy_setopt  # noqa: SLF001  # the underscore is curl_cffi's

_act = lib.curl_multi_socket_action

_OK = 0
_COPY = 1  # CURL_BLOB_COPY, the flag of a `struct curl_blob`: a pointer, a size and flags
_REMOVE = 4  # CURL_POLL_REMOVE; CURL_POLL_NONE, IN, OUT and INOUT are 0 to 3
_PAUSE_RECV = 1  # CURLPAUSE_RECV
_WRITE_ERROR = 0xFFFFFFFF  # CURL_WRITEFUNC_ERROR
_TEXT = 256  # bytes that libcurl writes an error's text into, at most (CURL_ERROR_SIZE)


class Watcher(Protocol):
    """Hears what a multi waits for, synchronously."""

    def watch(self, fd: int, wanted: int) -> None:
        """Waits for these of IN and OUT on the socket, in place of what was waited for before."""
        ...

    def forget(self, fd: int) -> None:
        """Waits for the socket no more; it is about to be closed."""
        ...

    def wake(self, delay: float | None) -> None:
        """Calls `act(TIMER)` in so many seconds, in place of an earlier call; None: not at all."""
        ...


@cache
def version() -> str:
    """The version of libcurl itself."""
    return str(ffi.string(lib.curl_version()).decode().split()[0].removeprefix("libcurl/"))


SOUND_NGHTTP2 = (1, 68, 1)
"""The first nghttp2 without CVE-2026-27135: by frames of its choice a service could end the process in older ones."""


@cache
def speaks_http2_soundly() -> bool:
    """Tells whether the library below libcurl that speaks HTTP/2 is known to stand what a service may send."""
    words = ffi.string(lib.curl_version()).decode().split()
    numbers = next((word.removeprefix("nghttp2/") for word in words if word.startswith("nghttp2/")), "0")
    return tuple(int(number) for number in re.findall(r"\d+", numbers)) >= SOUND_NGHTTP2


class Easy:
    """One request and its response. It must be closed, after it was removed from its multi."""

    __slots__ = ("_error", "_kept", "_lists", "handle")

    def __init__(self, template: "Easy | None" = None) -> None:
        """Copies the options of `template`, if there is one, but neither its lists nor its callbacks."""
        self.handle: Any = lib.curl_easy_duphandle(template.handle) if template else lib.curl_easy_init()
        self._error = ffi.new("char[]", _TEXT)
        self._kept: list[Any] = []
        self._lists: list[Any] = []
        _setopt(self.handle, CurlOpt.ERRORBUFFER, self._error)

    def set(self, option: int, value: int | bytes) -> None:
        """Sets an option to a number or a text. Raises ValueError if libcurl does not take it."""
        if _setopt(self.handle, option, _make_long(value) if isinstance(value, int) else value) != _OK:
            raise ValueError(f"libcurl {version()} does not take {value!r:.80} for option {option}")

    def set_blob(self, option: int, data: bytes) -> None:
        """Sets an option to bytes, which libcurl copies."""
        bytes_ = ffi.from_buffer(data)
        blob = ffi.new("char[]", pack("@PNI", int(ffi.cast("uintptr_t", bytes_)), len(data), _COPY))
        if _setopt(self.handle, option, blob) != _OK:
            raise ValueError(f"libcurl {version()} does not take bytes for option {option}")

    def set_list(self, option: int, lines: Iterable[bytes]) -> None:
        """Sets an option to a list of texts."""
        head = ffi.NULL
        for line in lines:
            head = lib.curl_slist_append(head, line)
        self._lists.append(head)
        _setopt(self.handle, option, head)

    def receive(self, head: Callable[[bytes], object], body: Callable[[bytes], object]) -> None:
        """Names the callbacks, which are given each line of a head, and each read of a body."""
        for hear, function, data in (
            (head, CurlOpt.HEADERFUNCTION, CurlOpt.HEADERDATA),
            (body, CurlOpt.WRITEFUNCTION, CurlOpt.WRITEDATA),
        ):
            context = ffi.new_handle(_Context(hear))
            self._kept.append(context)  # libcurl has only its address
            _setopt(self.handle, function, lib.buffer_callback)
            _setopt(self.handle, data, context)

    def pause(self) -> None:
        """Reads nothing more of the response until `resume`; of what libcurl has read already the rest is still told.

        It may be called in the callbacks of `receive`, and nowhere else.
        """
        lib.curl_easy_pause(self.handle, _PAUSE_RECV)

    def resume(self) -> None:
        """Reads on, in the next `act(TIMER)` of its multi, which is asked for by `Watcher.wake`."""
        lib.curl_easy_pause(self.handle, 0)

    def before_sending(self, call: Callable[[str, int], object]) -> None:
        """Calls `call` each time that there is a connection and the request is about to be sent.

        It is given the connection's local address and port, and must not raise.
        """
        context = ffi.new_handle(call)
        self._kept.append(context)
        _setopt(self.handle, CurlOpt.PREREQFUNCTION, _make_prereq())
        _setopt(self.handle, CurlOpt.PREREQDATA, context)

    @property
    def took(self) -> tuple[float | None, float | None, float]:
        """Seconds that the connection, its TLS and the sending of the request took; None for one that was open."""
        connected, secured, before, after = (
            microseconds / 1e6
            for microseconds in self._times(
                CurlInfo.CONNECT_TIME_T,
                CurlInfo.APPCONNECT_TIME_T,
                CurlInfo.PRETRANSFER_TIME_T,
                CurlInfo.POSTTRANSFER_TIME_T,
            )
        )
        return connected or None, secured - connected if secured else None, max(0.0, after - before)

    def impersonate(self, browser: str, default_headers: bool) -> bool:
        """Takes the TLS and HTTP/2 habits of a browser; False if it is not one that this libcurl knows.

        A name without a version, such as "chrome", is the newest that curl_cffi has.
        """
        known = self._impersonate(NEWEST.get(browser, browser), default_headers)
        if not known and browser in NEWEST:  # another curl_cffi than the table of ours is made from
            known = self._impersonate(_find_newest(browser), default_headers)
        return known

    def _impersonate(self, target: str, default_headers: bool) -> bool:
        return bool(lib.curl_easy_impersonate(self.handle, target.encode(), int(default_headers)) == _OK)

    @property
    def connected(self) -> bool:
        """True once there is a connection and all that belongs to it, over which the request can be sent."""
        return bool(self._times(CurlInfo.PRETRANSFER_TIME_T)[0])

    @property
    def error(self) -> str:
        """Libcurl's words for the last failure."""
        return str(ffi.string(self._error).decode("utf-8", "replace"))

    @property
    def os_errno(self) -> int:
        """The operating system's number for the last failure to connect, or 0."""
        return self._numbers(CurlInfo.OS_ERRNO)[0]

    @property
    def used_proxy(self) -> bool:
        """True if the last transfer went by way of a proxy."""
        return bool(self._numbers(CurlInfo.USED_PROXY)[0])

    @property
    def proxy_facts(self) -> tuple[int, int, int, int, int]:
        """The progress of a transfer by way of a proxy, in libcurl's numbers.

        The status of the answer to CONNECT; what came of TLS with the proxy and of TLS with the service, 0 if it is
        well or was not tried; and the microseconds until there was a connection, and until its TLS was done, 0 if it
        did not get there.
        """
        tunnel, proxy_tls, service_tls = self._numbers(
            CurlInfo.HTTP_CONNECTCODE, CurlInfo.PROXY_SSL_VERIFYRESULT, CurlInfo.SSL_VERIFYRESULT
        )
        connected, secured = self._times(CurlInfo.CONNECT_TIME_T, CurlInfo.APPCONNECT_TIME_T)
        return tunnel, proxy_tls, service_tls, connected, secured

    def _numbers(self, *infos: int) -> list[int]:
        return self._read("long*", infos)

    def _times(self, *infos: int) -> list[int]:
        """Returns times in microseconds."""
        return self._read("int64_t*", infos)

    def _read(self, kind: str, infos: tuple[int, ...]) -> list[int]:
        numbers = []
        for info in infos:
            number = ffi.new(kind)
            lib.curl_easy_getinfo(self.handle, info, number)
            numbers.append(int(number[0]))
        return numbers

    def close(self) -> None:
        """Frees it."""
        if self.handle is not None:
            lib.curl_easy_cleanup(self.handle)
            self.handle = None
            for head in self._lists:
                lib.curl_slist_free_all(head)
            self._kept.clear()  # the callbacks belong to objects that know this one


@cache
def _make_prereq() -> Any:
    """Makes the function that libcurl calls before a request. Some systems forbid such callbacks: not at import."""

    def call(context: Any, _remote: Any, local: Any, _remote_port: int, local_port: int) -> int:
        ffi.from_handle(context)(ffi.string(local).decode(), local_port)
        return _OK

    return ffi.callback("int(void*, char*, char*, int, int)", call)


@cache
def _find_newest(browser: str) -> str:
    """Adds a version to the name of a browser, from curl_cffi's own table, whose package takes 40 ms of all lanes."""
    from curl_cffi.requests.impersonate import REAL_TARGET_MAP  # noqa: PLC0415

    return REAL_TARGET_MAP.get(browser, browser)


@cache
def is_browser(name: str) -> bool:
    """Tells whether this libcurl can impersonate a browser of this name."""
    easy = Easy()
    try:
        return easy.impersonate(name, default_headers=False)
    finally:
        easy.close()


@lru_cache(256)
def _make_long(value: int) -> Any:
    """Makes the address by which an easy handle takes a number. Most numbers recur, but the sizes of bodies do not."""
    return ffi.new("long*", value)


class Multi:
    """Many transfers over shared connections."""

    def __init__(self, watcher: Watcher, connections: int, *, share: bool = True) -> None:
        """Keeps so many idle `connections` at most; unless they `share`, each HTTP/2 transfer has one of its own."""
        self._multi = lib.curl_multi_init()
        self._loop = _Loop(watcher)
        self._loop_handle = ffi.new_handle(self._loop)
        self._running = ffi.new("int*")
        self._left = ffi.new("int*")
        for option, value in (
            (CurlMOpt.SOCKETFUNCTION, lib.socket_function),
            (CurlMOpt.SOCKETDATA, self._loop_handle),
            (CurlMOpt.TIMERFUNCTION, lib.timer_function),
            (CurlMOpt.TIMERDATA, self._loop_handle),
            (CurlMOpt.MAXCONNECTS, ffi.cast("void *", connections)),
            *(() if share else ((CurlMOpt.PIPELINING, ffi.cast("void *", 0)),)),
            (CurlMOpt.QUICK_EXIT, ffi.cast("void *", 1)),  # a name that is being looked up does not hold up `close`
            (CurlMOpt.RESOLVE_THREADS_MAX, ffi.cast("void *", RESOLVERS)),
        ):
            if lib.curl_multi_setopt(self._multi, option, value) != _OK:
                raise RuntimeError(f"libcurl {version()} does not take option {option} of a multi handle")

    def add(self, easy: Easy) -> None:
        """Begins a transfer; it goes on in `act`."""
        if (code := lib.curl_multi_add_handle(self._multi, easy.handle)) != _OK:
            raise RuntimeError(f"libcurl: {ffi.string(lib.curl_multi_strerror(code)).decode()}")
        self._loop.tell()

    def remove(self, easy: Easy) -> None:
        """Ends a transfer wherever it is: an HTTP/1.1 connection closes, an HTTP/2 stream is reset."""
        lib.curl_multi_remove_handle(self._multi, easy.handle)
        self._loop.tell()

    def act(self, fd: int, happened: int = 0) -> None:
        """Goes on with whatever waits for this socket."""
        _act(self._multi, fd, happened, self._running)
        if self._loop.wanted:
            self._loop.tell()

    @property
    def running(self) -> int:
        """The number of transfers that still ran after the last `act`."""
        return int(self._running[0])

    def take_ended(self) -> Iterator[tuple[Any, int]]:
        """Yields the handles of transfers that have ended, each once, with libcurl's code: 0 is success."""
        while (message := lib.curl_multi_info_read(self._multi, self._left)) != ffi.NULL:
            yield message.easy_handle, int(message.data.result)

    def close(self) -> None:
        """Closes all its connections; its transfers must have been removed."""
        if self._multi is not None:
            lib.curl_multi_cleanup(self._multi)
            self._multi = None


class _Context:
    """The object behind an easy handle's callback: `hear` is for our function, the others are for curl_cffi's.

    curl_cffi's leaves an exception here, to be raised later; what ends a transfer by raising needs no more.
    """

    __slots__ = ("callback", "exception", "hear")

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.hear = write
        self.callback = _Buffer(write)  # not the same object: a cycle would keep a whole exchange alive
        self.exception: BaseException | None = None


class _Buffer:
    """The file that curl_cffi's function writes to."""

    __slots__ = ("write",)

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.write = write


class _Loop:
    """The object behind a multi handle's callbacks; it looks to curl_cffi's functions like an event loop.

    What libcurl asks for of a socket, in several calls, is collected, and passed on after the call into libcurl.
    """

    def __init__(self, watcher: Watcher) -> None:
        self.loop = self
        self.process_data = None
        self._timer = None  # call_later returns nothing to be cancelled
        self._sockfds = _Removals(self)
        self._watcher = watcher
        self.wanted: dict[int, int] = {}

    def tell(self) -> None:
        """Passes on what has changed."""
        if self.wanted:
            for fd, wanted in self.wanted.items():
                self._watcher.watch(fd, wanted)
            self.wanted.clear()

    def forget(self, fd: int) -> None:
        """Passes that on at once: another socket may get this number within the same call into libcurl."""
        self.wanted.pop(fd, None)
        self._watcher.forget(fd)

    def remove_reader(self, fd: int) -> None:
        self.wanted[fd] = 0

    def remove_writer(self, fd: int) -> None:
        self.wanted[fd] = 0

    def add_reader(self, fd: int, *_: object) -> None:
        self.wanted[fd] = self.wanted.get(fd, 0) | IN

    def add_writer(self, fd: int, *_: object) -> None:
        self.wanted[fd] = self.wanted.get(fd, 0) | OUT

    def call_later(self, delay: float, *_: object) -> None:
        self._watcher.wake(delay if delay >= 0 else None)  # libcurl says -1 ms for "no timer"


class _Removals(set[int]):
    """The sockets that `socket_function` has seen; it removes one just before libcurl closes it."""

    def __init__(self, loop: _Loop) -> None:
        super().__init__()
        self._loop = loop

    def remove(self, fd: int) -> None:
        super().discard(fd)
        self._loop.forget(fd)

    discard = remove  # type: ignore[assignment]  # some versions of curl_cffi call the one, some the other


def _attach() -> None:
    """Puts our own functions behind libcurl's callbacks, in place of those that curl_cffi's package would attach."""

    def write(data: Any, _size: int, length: int, context: Any) -> int:
        ffi.from_handle(context).hear(ffi.buffer(data, length)[:])
        return length

    def watch(_easy: Any, fd: int, wanted: int, context: Any, _: Any) -> int:
        loop = ffi.from_handle(context)
        if wanted == _REMOVE:
            loop._sockfds.remove(fd)  # noqa: SLF001  # the name is curl_cffi's
        else:
            loop._sockfds.add(fd)  # noqa: SLF001
            loop.wanted[fd] = wanted
        return _OK

    def wake(_multi: Any, milliseconds: int, context: Any) -> int:
        ffi.from_handle(context).call_later(milliseconds / 1000)
        return _OK

    # A transfer is ended by raising in `hear`; without `onerror` the traceback would be printed.
    ffi.def_extern(name="buffer_callback", error=_WRITE_ERROR, onerror=lambda *_: None)(write)
    ffi.def_extern(name="socket_function")(watch)
    ffi.def_extern(name="timer_function")(wake)


if ALONE:
    _attach()
