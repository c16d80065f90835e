"""The project's own code, format by format."""

from fanout.providers.openai import OpenAI
from fanout.wire.json_array import JsonArray
from fanout.wire.ndjson import JsonLines
from fanout.wire.sse import ServerSentEvents
from tests.conformance.sockets import Http1, open_httpx
from tests.conformance.subjects import Pure, SseJsonTrial, Subject, ValuesTrial, chat, sse

SUBJECTS: dict[str, Subject] = {
    "sse": sse(),
    "sse-json": Pure(lambda case: SseJsonTrial(case, ServerSentEvents())),
    "ndjson": Pure(lambda case: ValuesTrial(JsonLines())),
    "json-array": Pure(lambda case: ValuesTrial(JsonArray())),
    "openai-chat": chat(OpenAI("m-1")),
    "http1": Http1(open_httpx),
}
"""The project's own code, by format. A format that is not here is listed as not run."""
