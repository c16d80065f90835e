"""A web chat as a judge: it reads of the verdict's form in its prompt."""

import json

import fanout
from fanout import Best
from fanout.chats.koala import Koala
from tests.servers.http import running
from tests.servers.koala import KoalaServer


async def test_a_web_chat_may_be_the_judge() -> None:
    words = json.dumps(json.dumps({"best": "A", "why": "so"}))
    async with running(KoalaServer(stream=f"data: {words}\n\n".encode())) as server:
        lanes = [Koala(base_url=server.url) for _ in range(2)]
        run = await fanout.ask("Which?", Best(*lanes, judge=Koala(base_url=server.url)), retries=0)
    assert run.verdict and (run.verdict.error, run.verdict.why) == (None, "so")
    assert "JSON schema" in server.bodies[-1]["input"]
    assert run.winner and run.winner.lane.startswith("koala")
