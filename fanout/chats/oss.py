"""Files into Alibaba Cloud's object storage, with the temporary credentials that a service hands out for one directory.

The signature is version 1 of the storage's, in the header: an HMAC-SHA1 of method, type, date, the token's header and
the object's place (Alibaba Cloud, "Include a V1 signature in the Authorization header").
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, urlsplit

from attrs import field, frozen

from fanout.abc import Request
from fanout.addresses import is_public, is_this_machine
from fanout.credentials.secret import Secret
from fanout.errors import ProtocolError
from fanout.wire.json_text import show

_BUCKET = re.compile("[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+(:[0-9]{1,5})?")
_PLAIN = re.compile(r"http://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?")


@frozen
class Bucket:
    """A bucket in which files may be put, with temporary credentials for one `directory` of it."""

    endpoint: str
    bucket: str
    directory: str
    key_id: str
    secret: Secret = field(repr=False)
    token: Secret = field(repr=False)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Bucket":
        """The place that a service's JSON names. Raises LookupError and TypeError for what is none."""
        names = ("endpoint", "bucketName", "dir", "accessKeyId", "accessKeySecret", "securityToken")
        endpoint, bucket, directory, key_id, secret, token = (data[name] for name in names)
        if not all(isinstance(data[name], str) for name in names):
            raise TypeError("the storage's credentials are no texts")
        return cls(endpoint, bucket, directory, key_id, Secret(secret), Secret(token))

    def put(self, name: str, data: bytes, media_type: str, now: float, base_url: str) -> Request:
        """The request that stores a file under this name, at `now` (seconds since 1970).

        It goes over https, to a host by its name; only a service on this machine may name a storage on this machine.
        Raises ProtocolError for an endpoint or bucket of another kind.
        """
        key = f"{self.directory.strip('/')}/{name}".lstrip("/")
        date = formatdate(now, usegmt=True)
        token = self.token.reveal()
        text = f"PUT\n\n{media_type}\n{date}\nx-oss-security-token:{token}\n/{self.bucket}/{key}"
        signature = b64encode(hmac.digest(self.secret.reveal().encode(), text.encode(), "sha1")).decode()
        headers: dict[str, str | Secret] = {
            "authorization": Secret(f"OSS {self.key_id}:{signature}"),
            "content-type": media_type,
            "date": date,
            "x-oss-security-token": self.token,
        }
        return Request("PUT", f"{self._root(base_url)}/{quote(key, errors='replace')}", headers, data)

    def _root(self, base_url: str) -> str:
        scheme, _, host = self.endpoint.rpartition("://")
        name = host.partition(":")[0]
        if not _BUCKET.fullmatch(self.bucket):
            raise ProtocolError(f"the service names a storage whose bucket is {show(self.bucket)}")
        plain = _PLAIN.fullmatch(self.endpoint)
        if plain and is_this_machine(plain[1].strip("[]")) and is_this_machine(urlsplit(base_url).hostname):
            return f"{self.endpoint}/{self.bucket}"  # an address has no names below it
        if scheme not in ("", "https", "http") or not _HOST.fullmatch(host) or not is_public(f"{self.bucket}.{name}"):
            raise ProtocolError(f"the service names a storage at {show(self.endpoint)}, which is no host's name")
        return f"https://{self.bucket}.{host}"
