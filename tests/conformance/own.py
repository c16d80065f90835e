"""The project's own code, format by format."""

from fanout.providers.anthropic import Anthropic
from fanout.providers.cohere import Cohere
from fanout.providers.gemini import Gemini
from fanout.providers.ollama import Ollama
from fanout.providers.openai import OpenAI
from fanout.providers.responses import Responses
from fanout.wire.json_array import JsonArray
from fanout.wire.ndjson import JsonLines
from fanout.wire.sse import ServerSentEvents
from tests.conformance.sockets import Http1, Http2, open_curl, open_curl_h2, open_httpx
from tests.conformance.subjects import Pure, SseJsonTrial, Subject, ValuesTrial, chat, sse

SUBJECTS: dict[str, Subject | tuple[Subject, ...]] = {
    "sse": sse(),
    "sse-json": Pure(lambda case: SseJsonTrial(case, ServerSentEvents())),
    "ndjson": Pure(lambda case: ValuesTrial(JsonLines())),
    "json-array": Pure(lambda case: ValuesTrial(JsonArray())),
    "openai-chat": chat(OpenAI("m-1")),
    "openai-responses": chat(Responses("m-1")),
    "anthropic": chat(Anthropic("m-1")),
    "gemini-sse": chat(Gemini("g-1")),
    "ollama": chat(Ollama("m")),
    "cohere": chat(Cohere("c-1")),
    "http1": (Http1(open_curl, "curl"), Http1(open_httpx, "httpx")),
    "h2": Http2(open_curl_h2, "curl"),
}
"""The project's own code, by format. A format that is not here is listed as not run."""
