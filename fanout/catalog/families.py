"""Families of models by their names, and who serves them: for people who name a model without its provider."""

import re

_FAMILIES = (
    (r"gpt|chatgpt|o\d", ("openai/{}", "azure/{}", "openrouter/openai/{}")),
    (r"claude", ("anthropic/{}", "openrouter/anthropic/{}")),
    (r"gemini", ("gemini/{}", "openrouter/google/{}")),
    (r"grok", ("xai/{}", "openrouter/x-ai/{}")),
    (r"(mi|mini|magi)stral|codestral|devstral|pixtral", ("mistral/{}", "openrouter/mistralai/{}")),
    (r"deepseek", ("deepseek/{}", "openrouter/deepseek/{}")),
    (r"command", ("cohere/{}", "openrouter/cohere/{}")),
    (r"sonar", ("perplexity/{}", "openrouter/perplexity/{}")),
    (r"kimi|moonshot", ("moonshot/{}", "openrouter/moonshotai/{}")),
    (r"qwen|qwq", ("dashscope/{}", "openrouter/qwen/{}", "ollama/{}")),
    (r"minimax", ("minimax/{}", "openrouter/minimax/{}")),
    (r"llama|gemma|phi|smollm|glm|mixtral", ("ollama/{}", "groq/{}", "openrouter/…/{}")),
)


def find_lanes(model: str) -> list[str]:
    """Returns the lanes that a model's name may stand for, likeliest first; none for what looks like no model.

    A family's name alone is no model: `claude` may be anything.
    """
    if not re.search(r"[\d-]", model):
        return []
    for family, forms in _FAMILIES:
        if re.match(rf"(?:{family})(?![a-z])", model, re.IGNORECASE):
            return [form.format(model) for form in forms]
    return []
