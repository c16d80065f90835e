"""The providers that a lane spec can name: the embedded model, the table of hosts, and what nobody offers."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from attrs import frozen

from fanout.addresses import read_ollama_host
from fanout.catalog.keys import find_keys
from fanout.errors import ConfigurationError
from fanout.settings.timeouts import Timeouts

LOCAL_MODEL = "smollm2"
"""The embedded model's name in a lane spec."""

OLLAMA_VARIABLE = "OLLAMA_HOST"

_VARIABLE = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")


@frozen
class Entry:
    """A provider that lane specs can name; `keys` are environment variables, any of which holds the key.

    `wire` is the module of `fanout.providers` whose language it speaks, `quirks` how it differs, by that wire's names.
    For `{VARIABLE}` in `base_url` stands what the environment says. `models_url` is where its models are listed, if
    that is in no usual place. `on_cancel` says whether an answer that is cut off `stops`, or `runs` on and is billed
    whole, or if that is `unknown`. `any_model` says that a lane may leave the model to the service.

    For an interface that nobody offers, `wire` is a module of `fanout.chats`. `status` says what has been seen of it,
    `evidence` until what day; it is off until somebody switches it on.
    """

    name: str
    base_url: str
    wire: str = "openai"
    keys: tuple[str, ...] = ()
    needs_key: bool = True
    quirks: tuple[str, ...] = ()
    base_url_env: str | None = None
    models_url: str | None = None
    on_cancel: str = "unknown"
    timeouts: Timeouts = Timeouts()
    default_model: str | None = None
    any_model: bool = False
    status: str = ""
    evidence: str = ""
    note: str = ""

    @property
    def key_present(self) -> bool:
        """True if there is a key for one of its variables, and those in its address are set."""
        return not self.unset and find_keys(self.keys) is not None

    @property
    def unofficial(self) -> bool:
        """True for an interface that nobody offers."""
        return bool(self.status)

    @property
    def url_in_environment(self) -> str | None:
        """The address in the provider's usual variable, which may lack its scheme; Ollama's is read as Ollama does."""
        url = os.environ.get(self.base_url_env) if self.base_url_env else None
        if self.base_url_env == OLLAMA_VARIABLE:
            return read_ollama_host(url or "")
        return f"http://{url}" if url and "://" not in url else url

    def fill_in(self) -> str:
        """The address, with the environment's words for the variables in it. Raises UsageError for one that lacks."""
        if unset := self.unset:
            raise ConfigurationError(
                f"{self.name}: where is it? Set {' and '.join(unset)}, or give the lane a base_url"
            )
        return _VARIABLE.sub(lambda variable: os.environ[variable[1]].rstrip("/"), self.base_url)

    @property
    def unset(self) -> list[str]:
        """The variables in its address that are not set."""
        return [name for name in _VARIABLE.findall(self.base_url) if not os.environ.get(name)]


@cache
def entries() -> Mapping[str, Entry]:
    """All providers by name, the embedded model first, those that nobody offers last."""
    local = Entry(
        name="local",
        base_url="local://smollm2/v1",
        needs_key=False,
        timeouts=Timeouts(first=120),
        default_model=LOCAL_MODEL,
        quirks=("timings_per_token",),
        note="the embedded model, run on this machine: no key, no network",
    )
    unofficial = [Entry(**{**row, "needs_key": False}) for row in _rows("unofficial.toml")]
    found = (local, *(Entry(**row) for row in _rows("hosts.toml")), *unofficial)
    return {entry.name: entry for entry in found}


def _rows(file: str) -> Iterator[dict[str, Any]]:
    table = tomllib.loads(Path(__file__).with_name(file).read_text("utf-8"))
    for name, row in table.items():
        yield {"name": name, **row, **{key: tuple(row.get(key, ())) for key in ("keys", "quirks")}}
