"""One prompt to many LLM providers at once, on Trio."""
