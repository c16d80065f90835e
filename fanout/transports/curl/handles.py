"""libcurl's handles with all their options: those of a pool of connections, and those of one request."""

import os
from functools import cached_property

from fanout.abc import Request
from fanout.addresses import is_this_machine
from fanout.addresses.proxy import Proxy
from fanout.errors import UsageError
from fanout.transports.curl.authorities import Hashed, find_directory, find_file, find_hashed
from fanout.transports.curl.libcurl import Easy, is_browser, speaks_http2_soundly
from fanout.transports.curl.numbers import CurlHttpVersion, CurlOpt
from fanout.transports.outgoing import find_bundle, find_socks, reveal_headers

LONGEST_CONNECT = 3600.0
"""Seconds for a connection where the lane sets no limit; libcurl's own default is five minutes."""

USER_AGENT = "fanout"

BROWSER_CODINGS = b"gzip, deflate, br, zstd"
"""The codings that an impersonated browser takes, where its own headers do not say so already."""

_NOT_OURS = ("expect", "content-type")
"""Headers that libcurl would add to a body of its own accord: after the first it would wait for a "100 Continue"."""


class Handles:
    """Makes handles as the arguments of CurlTransport say. A handle that is made must be closed."""

    def __init__(
        self, *, ca_file: str | None, proxies: bool, prior_knowledge: bool, reuse: bool, http2: bool | None = None
    ) -> None:
        self._ca_file = ca_file
        self._proxies = proxies
        self._prior_knowledge = prior_knowledge
        self._reuse = reuse
        self._http2 = speaks_http2_soundly() if http2 is None else http2

    @cached_property
    def _hashed(self) -> Hashed | None:
        return find_hashed() if self._ca_file is None else None

    def make_template(self, browser: str | None) -> Easy:
        """Returns a handle with the options that all the requests of a pool share.

        Raises UsageError for a browser that libcurl cannot impersonate.
        """
        if browser is not None and not is_browser(browser):
            raise UsageError(f"libcurl cannot impersonate {browser!r}; try chrome, firefox or safari")
        template = Easy()
        try:
            self._set_up(template, browser)
        except BaseException:  # Ctrl-C too: nobody else knows the handle yet
            template.close()
            raise
        return template

    def make(self, template: Easy, request: Request, host: str, connect: float) -> Easy:
        """Returns a handle for a request to `host`, for whose connection there are `connect` seconds."""
        easy = Easy(template)
        try:
            self._prepare(easy, request, host, connect)
        except BaseException:  # as above
            easy.close()
            raise
        return easy

    def _set_up(self, template: Easy, browser: str | None) -> None:
        file = find_file(self._ca_file).encode()
        for option, value in (
            (CurlOpt.NOSIGNAL, 1),
            (CurlOpt.QUICK_EXIT, 1),  # a name that is being looked up does not hold up the end
            (CurlOpt.PATH_AS_IS, 1),
            (CurlOpt.SUPPRESS_CONNECT_HEADERS, 1),
            (CurlOpt.BUFFERSIZE, 1 << 16),
            (CurlOpt.UPLOAD_BUFFERSIZE, 1 << 14),  # the default of 64 KiB is 32 to 59 KB more for every stream
            (CurlOpt.PROTOCOLS_STR, b"http,https"),
            (CurlOpt.CAINFO, file),
            (CurlOpt.PROXY_CAINFO, file),
        ):
            template.set(option, value)
        if self._ca_file is None and (directory := find_directory()):
            template.set(CurlOpt.CAPATH, directory.encode())
            template.set(CurlOpt.PROXY_CAPATH, directory.encode())
        elif self._ca_file is not None or find_bundle()[0]:
            # Else a directory of the system's is trusted beside the file; libcurl cannot be told to have none.
            template.set(CurlOpt.CAPATH, os.devnull.encode())
            template.set(CurlOpt.PROXY_CAPATH, os.devnull.encode())
        if not self._reuse:
            for option in (CurlOpt.FRESH_CONNECT, CurlOpt.FORBID_REUSE):
                template.set(option, 1)
            for option in (CurlOpt.DNS_CACHE_TIMEOUT, CurlOpt.SSL_SESSIONID_CACHE):
                template.set(option, 0)
        if browser is None:
            # Codings are undone here, in one go for a read and with a bound.
            template.set(CurlOpt.HTTP_TRANSFER_DECODING, 0)
            template.set(CurlOpt.HTTP_CONTENT_DECODING, 0)
        else:
            template.set(CurlOpt.ACCEPT_ENCODING, BROWSER_CODINGS)  # which libcurl then undoes
            template.set(CurlOpt.BUFFERSIZE, 1 << 13)  # a read at a time, whatever it becomes

    def _prepare(self, easy: Easy, request: Request, host: str, connect: float) -> None:
        headers = reveal_headers(request)
        secure = request.url.startswith("https:")
        if request.impersonate is not None:
            # A browser's headers belong together: either the request brings its own set, or it gets this one.
            easy.impersonate(request.impersonate, "user-agent" not in headers)
        else:
            headers.setdefault("user-agent", USER_AGENT)
        if self._prior_knowledge and not secure:
            easy.set(CurlOpt.HTTP_VERSION, CurlHttpVersion.V2_PRIOR_KNOWLEDGE)
        else:
            # A browser speaks HTTP/2, and a service that looks for one would see the difference.
            second = secure and (self._http2 or request.impersonate is not None)
            easy.set(CurlOpt.HTTP_VERSION, CurlHttpVersion.V2TLS if second else CurlHttpVersion.V1_1)
        if secure and (hashed := self._hashed) is not None:
            easy.set(CurlOpt.CAPATH, hashed.directory.encode())
            easy.set_blob(CurlOpt.CAINFO_BLOB, hashed.one)  # in place of the file; to have neither is an error
        easy.set(CurlOpt.URL, request.url.encode())
        _set_method(easy, request)
        lines = [f"{name}: {value}" if value.strip() else f"{name};" for name, value in headers.items()]
        lines += [f"{name}:" for name in _NOT_OURS if name not in headers]
        easy.set_list(CurlOpt.HTTPHEADER, map(str.encode, lines))
        easy.set(CurlOpt.CONNECTTIMEOUT_MS, max(1, int(min(connect, LONGEST_CONNECT) * 1000)))
        if request.proxy is not None:
            _set_proxy(easy, request.proxy)
        elif not self._proxies or is_this_machine(host):
            easy.set(CurlOpt.PROXY, b"")
        elif (socks := find_socks(request.url)) is not None:
            _set_proxy(easy, socks, always=False)


def _set_method(easy: Easy, request: Request) -> None:
    if request.method == "GET" and not request.body:
        easy.set(CurlOpt.HTTPGET, 1)
    elif request.method == "HEAD":
        easy.set(CurlOpt.NOBODY, 1)  # else it would wait for the body that the head tells of
    else:
        easy.set(CurlOpt.POST, 1)
        easy.set(CurlOpt.POSTFIELDSIZE, len(request.body))
        easy.set(CurlOpt.COPYPOSTFIELDS, request.body)
        easy.set(CurlOpt.CUSTOMREQUEST, request.method.encode())


def _set_proxy(easy: Easy, proxy: Proxy, *, always: bool = True) -> None:
    """Sets a request's proxy, or none; libcurl uses no connection for it that another proxy was used for.

    `always` says that the environment's `no_proxy` does not count.
    """
    easy.set(CurlOpt.PROXY, b"" if proxy.direct else proxy.url.encode())
    if always:
        easy.set(CurlOpt.NOPROXY, b"")  # else `no_proxy` of the environment counts here too
    if proxy.credentials is not None:
        user, password = proxy.credentials
        easy.set(CurlOpt.PROXYUSERNAME, user.reveal().encode())
        easy.set(CurlOpt.PROXYPASSWORD, password.reveal().encode())
