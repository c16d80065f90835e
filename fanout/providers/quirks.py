"""The ways in which services differ from OpenAI's own chat completions, as settings of the provider that speaks them.

Only what a request must heed is here: the reader takes what an answer may contain from anybody.
"""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from fanout.abc import Access

QUIRKS: Mapping[str, Mapping[str, Any]] = {
    "max_completion_tokens": {"max_tokens": "max_completion_tokens"},
    "developer_role": {"developer": True},
    "random_seed": {"seed": "random_seed"},
    "tool_names_only": {"names": False},
    "short_call_ids": {"short_ids": True},
    "reasoning_back": {"reasoning": "tool turns"},
    "no_stream_options": {"stream_usage": False},
    "timings_per_token": {"timings": True},
    "api_key_header": {"key_header": "api-key"},
}

ANY_SERVER: Mapping[str, Any] = {"max_tokens": "max_tokens", "developer": False}
"""The settings for a server without quirks: older names are known everywhere."""


def settings_for(access: Access) -> dict[str, Any]:
    """Returns the settings that a service's quirks ask for.

    At another address than OpenAI's, `openai` is any server that speaks its wire, such as one of the user's own.
    """
    settings = dict(ANY_SERVER)
    moved = access.name == "openai" and not (urlsplit(access.base_url).hostname or "").endswith("api.openai.com")
    for quirk in () if moved else access.quirks:
        settings.update(QUIRKS[quirk])
    return settings


def account_of(access: Access) -> dict[str, Any]:
    """Returns the organization and project of the environment that go with a key of OpenAI's; none without one."""
    if access.name not in ("openai", "responses") or not access.key_env:
        return {}
    return {"organization": os.environ.get("OPENAI_ORG_ID"), "project": os.environ.get("OPENAI_PROJECT_ID")}
