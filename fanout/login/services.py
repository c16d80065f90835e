"""The parts of a login, service by service: data for the import, the browser and the check."""

import json
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from attrs import field, frozen

from fanout.abc import Reply, Request
from fanout.addresses import is_private, show_url
from fanout.credentials import Credentials, command
from fanout.credentials.secret import Secret
from fanout.errors import LoginRequired, UsageError
from fanout.wire.faults import response_error


@frozen
class Site:
    """A web site that people log in to, and what is to be kept of a login: nothing but what is named here.

    `secrets` are tokens: the name is also that of the request header in which the site's own page sends it. `fields`
    are what the page tells of its browser, by the names of its query parameters. Of all these, `needs` are those
    without which there is no login, and `needs_at_home` those that only the service itself asks for: a deployment of
    the same software elsewhere does not. `page` and `user` are paths below the base URL: where a person logs in, and
    what answers who is logged in.
    """

    name: str
    base_url: str
    cookies: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    needs_at_home: tuple[str, ...] = ()
    page: str = "/"
    user: str | None = None
    variable: str = ""
    """The environment variable that may hold the cookies or, for a site with a token, the token."""
    base_url_variable: str = field(init=False)
    """The environment variable with the base URL that `variable` belongs to, where it is not the site's own."""

    @base_url_variable.default
    def _base_url_variable(self) -> str:
        return f"FANOUT_{self.name.upper()}_BASE_URL"

    def command(self, base_url: str) -> str:
        """The line that logs a person in at `base_url` with a browser."""
        return command("login", self.name, base_url, self.base_url)

    def import_command(self, base_url: str) -> str:
        """The line that takes over a login at `base_url`, for a machine without a display."""
        return command("auth import", self.name, base_url, self.base_url)

    def required_names(self, base_url: str) -> tuple[str, ...]:
        """The names of the cookies and tokens without which there is no login at `base_url`."""
        return self.needs + (self.needs_at_home if normalise(base_url) == self.base_url else ())


SERVICES: Mapping[str, Site] = {
    site.name: site
    for site in (
        Site(
            "huggingchat",
            "https://huggingface.co/chat",
            cookies=("hf-chat", "token"),
            needs=("hf-chat",),
            needs_at_home=("token",),  # the account's own cookie, to which huggingface.co binds the session
            page="/login",
            user="/api/v2/user",
            variable="FANOUT_HUGGINGCHAT_COOKIE",
        ),
        Site(
            "hailuo",
            "https://www.hailuo.ai",
            secrets=("token",),
            fields=(
                "device_id",
                "uuid",
                "os_name",
                "browser_name",
                "cpu_core_num",
                "browser_language",
                "browser_platform",
                "screen_width",
                "screen_height",
            ),
            needs=("token",),
            variable="FANOUT_HAILUO_TOKEN",
        ),
        Site(
            "aura",
            "https://openchat.team",
            cookies=("cf_clearance", "__cf_bm", "_cfuvid"),  # the site has no login; its bot wall gives these
            needs=("cf_clearance",),
            variable="FANOUT_AURA_COOKIE",
        ),
    )
}
"""The services that people log in to."""


def normalise(base_url: str) -> str:
    """Returns the base URL in the form that names files and is compared."""
    return base_url.rstrip("/")


def check_address(base_url: str) -> str:
    """Returns the base URL in its normal form. Raises UsageError if cookies would go there in clear, or nowhere."""
    try:
        parts = urlsplit(base_url)
        host = parts.hostname
        _ = parts.port  # raises for one that is none
    except ValueError:
        host = None
    if "@" in base_url or "%40" in base_url:
        raise UsageError("a base URL carries no user or password")
    if host is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise UsageError(f"a base URL is an http or https address without query, not {show_url(base_url)}")
    if parts.scheme == "http" and not is_private(host):
        raise UsageError(f"base URL {show_url(base_url)} would send the login in clear; use https")
    return normalise(base_url)


def user_request(site: Site, credentials: Credentials) -> Request | None:
    """Makes the request that asks who is logged in, or None where the service has no such address."""
    if site.user is None:
        return None
    headers: dict[str, str | Secret] = {**credentials.headers, "accept": "application/json"}
    if cookie := credentials.cookie:
        headers["cookie"] = cookie
    return Request("GET", normalise(credentials.base_url) + site.user, headers)


def user(site: Site, base_url: str, reply: Reply) -> str | None:
    """Reads who is logged in at `base_url` from the reply to `user_request`; None where it has no such address.

    Raises LoginRequired where nobody is logged in, and another ProviderError where the service fails.
    """
    head, refused = reply.head, LoginRequired("nobody is logged in with these", command=site.command(base_url))
    if head.status in (301, 302, 303, 307, 308, 401):
        raise refused
    # Older deployments answer what they do not know with their front page.
    if head.status == 404 or (head.status == 200 and "json" not in head.headers.get("content-type", "")):
        return None
    if head.status != 200:
        raise response_error(head, reply.body)
    try:
        person = json.loads(reply.body)["json"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if person is None:
        raise refused
    name = person.get("username") if isinstance(person, dict) else None
    return name if isinstance(name, str) and re.fullmatch(r"[\w.@-]{1,64}", name) else "somebody"
