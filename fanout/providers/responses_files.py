"""The pictures and files in a response."""

from collections.abc import Callable
from typing import Any

from fanout.abc import Request
from fanout.events import Event, File
from fanout.prompt.media_types import guess_type_of
from fanout.providers.media import file_of, file_of_base64
from fanout.providers.reader import JsonReader, rows_of, text_of
from fanout.providers.responses_items import Item, Row
from fanout.wire.json_text import repair

FileRequest = Callable[[str, str], Request]
"""Makes the request that gets a file of a container, by the ids of both."""

_FORMATS = {"jpg": "image/jpeg", "svg": "image/svg+xml"}


class Files:
    """Makes files of items and of citations, each once."""

    def __init__(self, reader: JsonReader, request: FileRequest | None) -> None:
        self._reader = reader
        self._request = request
        self._cited: set[tuple[str, str]] = set()

    def read_picture(self, item: Item, row: Row, out: list[Event]) -> None:
        """Takes the picture that was generated; those on the way to it come in events of their own, and are none."""
        result, error = row.get("result"), row.get("error")
        if item.told or (not result and row.get("status") in ("in_progress", "generating")):
            return
        item.told = True
        named = _type_of(row.get("output_format"))
        if file := file_of_base64(result, named) or file_of(result):
            file.media_type = file.media_type or named or "image/png"
            out.append(file)
        else:
            words = text_of(error.get("message")) if isinstance(error, dict) else None
            why = "its bytes are damaged" if result else words or f"its status is {row.get('status')}"
            self._reader.note(f"a picture did not come: {why}")

    def read_drawings(self, item: Item, row: Row, out: list[Event]) -> None:
        """Takes the pictures that the service's code drew; what it printed is for the model, which has read it."""
        drawings = [output.get("url") for output in rows_of(row.get("outputs")) if output.get("type") == "image"]
        if drawings and not item.told:
            item.told = True
            out += [file for url in drawings if (file := file_of(url))]

    def read_citation(self, annotation: Row, out: list[Event]) -> None:
        """Takes a file that the service's code has written: it is got with the lane's credentials."""
        container, file_id = text_of(annotation.get("container_id")), text_of(annotation.get("file_id"))
        if self._request and container and file_id and (container, file_id) not in self._cited:
            self._cited.add((container, file_id))
            name = repair(text_of(annotation.get("filename")) or "") or None
            fetch = self._request(container, file_id)
            out.append(File(name, guess_type_of(name or ""), fetch.url, fetch=fetch))


def _type_of(output_format: Any) -> str | None:
    name = text_of(output_format)
    return _FORMATS.get(name, f"image/{name}") if name and name.isalnum() else None
