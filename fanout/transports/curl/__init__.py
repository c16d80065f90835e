"""The default transport: libcurl's multi interface, driven by Trio. The only package that knows libcurl."""

from fanout.transports.curl.transport import CurlTransport

__all__ = ["CurlTransport"]
