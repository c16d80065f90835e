"""A service on FastAPI: the first lane that speaks answers, word by word, and a client that leaves cancels all lanes.

uvicorn fastapi_app:app
curl -N 'http://127.0.0.1:8000/stream?question=Why+is+the+sky+blue'
"""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import fanout.aio

LANES = ["openai/gpt-5-mini", "anthropic/claude-haiku-4-5"]

app = FastAPI()


async def write(question: str) -> AsyncIterator[str]:
    """Yields the text of the lane that speaks first."""
    async with fanout.aio.stream(question, LANES, deadline=60) as text:
        async for piece in text:
            yield piece


@app.get("/stream")
async def stream(question: str) -> StreamingResponse:
    """Streams the answer. When its client leaves, Starlette cancels what writes it, and that every lane."""
    return StreamingResponse(write(question), media_type="text/plain; charset=utf-8")


@app.get("/answer")
async def answer(question: str) -> dict[str, str]:
    """Returns the first whole answer; which lane gave it is for the log."""
    first = await fanout.aio.race(question, LANES, deadline=60)
    return {"lane": first.lane, "text": first.text}
