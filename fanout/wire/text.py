"""Plain UTF-8 text: bytes to pieces of text, never half a character."""

from codecs import getincrementaldecoder

from fanout.errors import ProviderError


class Utf8Text:
    """Cuts bytes into non-empty texts; bad bytes become U+FFFD, and a leading byte-order mark is dropped."""

    def __init__(self) -> None:
        self.error: ProviderError | None = None
        self._decoder = getincrementaldecoder("utf-8-sig")("replace")

    def feed(self, data: bytes, /) -> list[str]:
        """The text that these bytes complete, if any."""
        text = self._decoder.decode(data)
        return [text] if text else []

    def close(self) -> list[str]:
        """U+FFFD for a character that never became whole."""
        text = self._decoder.decode(b"", final=True)
        return [text] if text else []
