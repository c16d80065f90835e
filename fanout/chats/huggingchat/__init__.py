"""HuggingChat, and every server of its open-source software (chat-ui)."""

from fanout.chats.huggingchat.provider import HuggingChat

__all__ = ["HuggingChat"]
