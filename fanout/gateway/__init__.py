"""The gateway: the engine behind the HTTP interfaces of OpenAI and Anthropic, where a race is the name of a model."""
