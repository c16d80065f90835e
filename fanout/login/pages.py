"""Questions to a service's own page, in JavaScript: is somebody logged in, and what does it keep of the login."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from fanout.login.services import Site

_AGENT = {
    "user-agent": "navigator.userAgent",
    "sec-ch-ua": """agent && agent.brands
        .map(each => `${JSON.stringify(each.brand)};v=${JSON.stringify(each.version)}`).join(', ')""",
    "sec-ch-ua-mobile": "agent && (agent.mobile ? '?1' : '?0')",
    "sec-ch-ua-platform": "agent && JSON.stringify(agent.platform)",
}
"""The headers in which the browser says what it is."""


@frozen
class Page:
    """Expressions by what they give; each is evaluated on the service's own origin only.

    `done` says whether somebody is logged in, and may be a promise. It may use `base`, the path of the base URL.
    `secrets` and `fields` go by the names that the site gives them; an empty value is as good as none.
    """

    done: str = "true"
    secrets: Mapping[str, str] = field(factory=dict)
    fields: Mapping[str, str] = field(factory=dict)


PAGES: Mapping[str, Page] = {
    # The page itself changes; the form is that of deployments of 2025, which have no such API.
    "huggingchat": Page(
        done="""document.querySelector('form[action$="/logout"]') !== null
            || fetch(`${base}/api/v2/user`, {headers: {accept: 'application/json'}})
                .then(reply => reply.json()).then(user => Boolean(user.json), () => false)"""
    ),
    "hailuo": Page(
        done="Boolean(localStorage._token)",
        secrets={"token": "localStorage._token"},
        fields={
            "device_id": "localStorage.USER_HARD_WARE_INFO",
            "uuid": "localStorage.UNIQUE_USER_ID",
            "os_name": "agent && agent.platform || navigator.platform",
            "browser_name": """(name => name.includes('Edg/') ? 'edge' : name.includes('Firefox/') ? 'firefox'
                : name.includes('Chrome/') ? 'chrome' : name.includes('Safari/') ? 'safari' : 'unknown'
                )(navigator.userAgent)""",
            "cpu_core_num": "navigator.hardwareConcurrency",
            "browser_language": "navigator.language",
            "browser_platform": "navigator.platform",
            "screen_width": "screen.width",
            "screen_height": "screen.height",
        },
    ),
    "aura": Page(
        done="""document.querySelector('body:not(.no-js)') !== null
            && !/just a moment|attention required|one moment/i.test(document.title)"""
    ),
}
"""The pages of the services that people log in to."""


def question(page: Page, base_url: str) -> str:
    """An expression that is null until somebody is logged in, then an object with secrets, fields and headers.

    It does nothing on any origin but the base URL's: an identity provider's page is none of our business.
    """
    takes = {"secrets": page.secrets, "fields": page.fields, "headers": _AGENT}
    objects = ", ".join(f"{name}: {_object(values)}" for name, values in takes.items())
    return f"""location.origin !== {json.dumps(origin(base_url))} ? null : (async () => {{
        const base = {json.dumps(urlsplit(base_url).path.rstrip("/"))}, agent = navigator.userAgentData;
        return await ({page.done}) ? {{{objects}}} : null;
    }})()"""


def pick(site: Site, answer: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The answer to `question`, as texts: what the site names, and the headers; nothing that is empty."""
    named = {"secrets": site.secrets, "fields": site.fields, "headers": tuple(_AGENT)}
    return {
        part: {name: str(value) for name, value in answer[part].items() if name in names and value not in (None, "")}
        for part, names in named.items()
    }


def origin(url: str) -> str:
    """The origin of a URL as a browser writes it (RFC 6454): lower case, without the port that the scheme implies."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in (None, usual) else "")


def _object(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {expression}" for name, expression in values.items()) + "}"
