"""The terms on which every service is asked alike: how a request is made, a key, options, and a list of its models."""

from collections.abc import Mapping, Sequence
from typing import Any

from fanout.abc import Reply, Request
from fanout.addresses import join_url
from fanout.credentials.secret import Secret
from fanout.errors import AuthError, InvalidRequest, ProtocolError
from fanout.prompt import Options
from fanout.wire.faults import response_error
from fanout.wire.json_text import JsonText, encode, excerpt

Headers = Mapping[str, str | Secret]

STREAM = "text/event-stream"


def ask(base_url: str, path: str, own: Headers, body: Any, accept: str = STREAM) -> Request:
    """Makes the request that asks for an answer: `body` as JSON, with the service's `own` headers.

    No content coding is asked for, because one may hold events back.
    """
    headers = {"accept": accept, "accept-encoding": "identity", "content-type": "application/json", **own}
    return Request("POST", join_url(base_url, path), headers, encode(body).encode())


def ask_for_models(base_url: str, path: str, own: Headers) -> Request:
    """Makes the request that lists the models, with the service's `own` headers."""
    headers = {"accept": "application/json", "accept-encoding": "identity", **own}
    return Request("GET", join_url(base_url, path), headers)


def bearer(key: Secret | None) -> dict[str, str | Secret]:
    """Makes the header in which most services want their key; none without a key."""
    return {} if key is None else {"authorization": Secret(f"Bearer {key.reveal()}")}


def check_key(key: Secret | None, names: Sequence[str], *, needed: bool) -> None:
    """Raises AuthError if there is no key where one is `needed`; `names` are the variables that may hold it."""
    if key is None and needed:
        raise AuthError(f"no key: set {' or '.join(names) or 'one'}")


def refuse(options: Options, names: Sequence[str], provider: str) -> None:
    """Raises InvalidRequest if any of `names` is among the options: the provider's wire has no place for them."""
    given = [name for name in names if getattr(options, name) not in (None, ())]
    if given:
        raise InvalidRequest(f"{provider} has no option {' or '.join(given)}; ask without")


def model_rows(reply: Reply, rows: str = "data") -> list[dict[str, Any]]:
    """Returns the rows of a list of models, which stands under the name `rows`; OpenAI's `data` may also stand alone.

    Raises ProviderError if the reply holds no list.
    """
    if reply.head.status != 200:
        raise response_error(reply.head, reply.body)
    text = reply.body.decode("utf-8", "replace")
    value = JsonText().decode(text)
    found = value.get(rows) if isinstance(value, dict) else value if rows == "data" else None
    if not isinstance(found, list):
        raise ProtocolError(f"no list of models: {excerpt(text)}")
    return [row for row in found if isinstance(row, dict)]


def model_names(reply: Reply, rows: str = "data", name: str = "id") -> list[str]:
    """Returns the names in a list of models, each under the name `name`. Raises ProviderError if there is no list."""
    return [row[name] for row in model_rows(reply, rows) if isinstance(row.get(name), str) and row[name]]
