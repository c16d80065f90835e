"""A service on FastAPI: the first lane that speaks answers, word by word, and a client that leaves cancels all lanes.

uvicorn fastapi_app:app
curl -N 'http://127.0.0.1:8000/stream?question=Why+is+the+sky+blue'
"""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from fanout import Delta, Race
from fanout.aio import open_fanout, race  # imported here, what they need is loaded before the first request

LANES = ["openai/gpt-5-mini", "anthropic/claude-haiku-4-5"]

app = FastAPI()


async def write(question: str) -> AsyncIterator[str]:
    """Yields the text of the lane that spoke first."""
    winner = None
    async with open_fanout(question, Race(*LANES, on="first_token", reasoning=False), deadline=60) as events:
        async for tagged in events:
            if isinstance(tagged.event, Delta) and winner in (None, tagged.lane):
                winner = tagged.lane
                yield tagged.event.text


@app.get("/stream")
async def stream(question: str) -> StreamingResponse:
    """Streams the answer. When its client leaves, Starlette cancels what writes it, and that every lane."""
    return StreamingResponse(write(question), media_type="text/plain; charset=utf-8")


@app.get("/answer")
async def answer(question: str) -> dict[str, str]:
    """Returns the first whole answer; which lane gave it is for the log."""
    first = await race(question, LANES, deadline=60)
    return {"lane": first.lane, "text": first.text}
