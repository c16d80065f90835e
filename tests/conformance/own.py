"""The project's own code, format by format."""

from fanout.wire.json_array import JsonArray
from fanout.wire.ndjson import JsonLines
from fanout.wire.sse import ServerSentEvents
from tests.conformance.lanes import WIRES, Lane, provider_at
from tests.conformance.sockets import Http1, Http2, open_curl, open_curl_h2, open_httpx
from tests.conformance.subjects import Pure, SseJsonTrial, Subject, ValuesTrial, chat, sse

SUBJECTS: dict[str, Subject | tuple[Subject, ...]] = {
    "sse": sse(),
    "sse-json": Pure(lambda case: SseJsonTrial(case, ServerSentEvents())),
    "ndjson": Pure(lambda case: ValuesTrial(JsonLines())),
    "json-array": Pure(lambda case: ValuesTrial(JsonArray())),
    **{wire: (chat(provider_at(wire)), Lane()) for wire in WIRES},
    "http1": (Http1(open_curl, "curl"), Http1(open_httpx, "httpx"), Lane()),
    "h2": Http2(open_curl_h2, "curl"),
}
"""The project's own code, by format. A format that is not here is listed as not run."""
