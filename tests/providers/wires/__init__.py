"""The six API wires: each has its building blocks, an answer with everything in it, and a row for the common tests."""

from typing import Any

from tests.providers.wires import anthropic, chat, cohere, gemini, ollama, responses
from tests.providers.wires.wire import Wire

WIRES: tuple[Wire[Any], ...] = (
    chat.WIRE,
    responses.WIRE,
    anthropic.WIRE,
    gemini.WIRE,
    ollama.WIRE,
    cohere.WIRE,
)
