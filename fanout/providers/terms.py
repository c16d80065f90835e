"""The terms on which every service is asked alike: a key, options that its wire has, and a list of its models."""

from collections.abc import Sequence

from fanout.abc import Reply
from fanout.errors import AuthError, InvalidRequest, ProtocolError
from fanout.prompt import Options
from fanout.wire.faults import response_error
from fanout.wire.json_text import JsonText, excerpt


def no_key(names: Sequence[str]) -> AuthError:
    """The error that there is no key, with the environment variables that may hold one."""
    return AuthError(f"no key: set {' or '.join(names) or 'one'}")


def refuse(options: Options, names: Sequence[str], provider: str) -> None:
    """Raises InvalidRequest if any of `names` is among the options: the provider's wire has no place for them."""
    given = [name for name in names if getattr(options, name) not in (None, ())]
    if given:
        raise InvalidRequest(f"{provider} has no option {' or '.join(given)}; ask without")


def model_names(reply: Reply) -> list[str]:
    """The names in the reply to a request for `/models`. Raises ProviderError if it holds none."""
    if reply.head.status != 200:
        raise response_error(reply.head, reply.body)
    value = JsonText().decode(reply.body.decode("utf-8", "replace"))
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise ProtocolError(f"no list of models: {excerpt(str(value))}")
    return [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
