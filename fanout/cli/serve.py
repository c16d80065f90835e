"""fanout serve: the gateway."""

import json
import os
import shlex
from functools import partial
from typing import TYPE_CHECKING

import click

from fanout.cli.options import TRANSPORT
from fanout.errors import UsageError
from fanout.storage.places import expand_home

if TYPE_CHECKING:
    from fanout.catalog.config import Config
    from fanout.gateway.serve import Wish

VARIABLE = "FANOUT_TOKEN"


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where to listen; others than this machine need a token."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any that is free.")
@click.option(
    "--token",
    "tokens",
    multiple=True,
    metavar="TOKEN",
    help=f"What clients must show; better in {VARIABLE}, since a command's arguments can be seen.",
)
@click.option("--host-name", "names", multiple=True, metavar="NAME", help="A further name by which clients call it.")
@click.option("--config", metavar="FILE", help="In place of the fanout.toml in this and your directory.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes; each counts, remembers calls and keeps answers for itself.",
)
@click.option(
    "--concurrency",
    "most",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Requests at once, in each process.",
)
@click.option(
    "--queue",
    "waiting",
    type=click.IntRange(0),
    default=256,
    show_default=True,
    help="Requests that may wait; more get a 429.",
)
@click.option(
    "--max-body", "most_bytes", type=click.IntRange(1), default=32 << 20, show_default=True, help="Bytes of a request."
)
@click.option("--tls-cert", "certificate", metavar="FILE", help="A certificate: https, and HTTP/2.")
@click.option("--tls-key", "key", metavar="FILE", help="Its key.")
@click.option("-q", "--quiet", is_flag=True, help="No access log.")
@TRANSPORT
def serve(tokens: tuple[str, ...], config: str | None, quiet: bool, **given: object) -> int:
    """Serve the interfaces of OpenAI and Anthropic, where a race is the name of a model.

    fanout serve --port 8080

    Then, to any client: base URL http://127.0.0.1:8080/v1, model race:openai/gpt-5-mini,local
    """
    try:
        from fanout.gateway.guard import check_tokens
        from fanout.gateway.serve import Wish
    except ImportError as error:
        raise UsageError(f"fanout serve needs {error.name}: pip install 'fanout-llm[serve]'") from None
    from fanout.catalog.config import load
    from fanout.credentials.secret import Secret

    shown = [*tokens, *(word for word in os.environ.get(VARIABLE, "").split(",") if word.strip())]
    wish = Wish(tokens=tuple(Secret(token.strip()) for token in shown), **given)  # type: ignore[arg-type]  # as Wish names them
    if problem := check_tokens([token.strip() for token in shown], public=wish.public):
        raise UsageError(problem)
    if bool(wish.certificate) != bool(wish.key):
        raise UsageError("--tls-cert and --tls-key belong together")
    return _serve(wish, load() if config is None else load_file(config), quiet=quiet)


def load_file(name: str) -> "Config":
    """Returns the configuration in a file, which is taken for the user's own. Raises UsageError."""
    from fanout.catalog.config import read

    path = expand_home(name)
    if not path.is_file():
        raise UsageError(f"--config {name}: there is no such file")
    return read(path)


def _serve(wish: "Wish", config: "Config", *, quiet: bool) -> int:
    from attrs import evolve

    from fanout.gateway.serve import check_certificate, listen, run_workers

    check_certificate(wish)
    sock = listen(wish)
    wish = evolve(wish, port=sock.getsockname()[1])

    def work(one: "Wish") -> int:
        import trio

        from fanout.gateway.serve import run

        log = (lambda _: None) if quiet else _log
        ready = (lambda: None) if wish.workers > 1 else partial(_say_ready, wish, config)
        trio.run(run, one, config, sock, ready, log)
        return 0

    if wish.workers == 1:
        return work(wish)
    _say_ready(wish, config)
    return run_workers(wish, work)


def _log(line: str) -> None:
    os.write(2, f"{line}\n".encode("utf-8", "replace"))


def _say_ready(wish: "Wish", config: "Config") -> None:
    """Says where the gateway is, and what to do next. Names come from a project's file, which others may have made."""
    from fanout.formats.summary import one_line

    model = next(iter(config.groups or config.lanes), "local")
    click.echo(f"fanout serves at {wish.url}{', and at all addresses of this machine' if wish.everywhere else ''}")
    click.echo(f"  OpenAI's clients: base URL {wish.url}/v1; Anthropic's: {wish.url}", err=True)
    token = f' -H "authorization: Bearer ${VARIABLE}"' if wish.tokens else ""
    body = json.dumps({"model": one_line(model), "messages": [{"role": "user", "content": "Hello"}]})
    click.echo(
        f"  try: curl {wish.url}/v1/chat/completions{token} -H 'content-type: application/json' -d {shlex.quote(body)}",
        err=True,
    )
    click.echo(
        "  models: fanout.toml's lanes and groups, PROVIDER/MODEL, race:a,b, hedge:a,b@800ms, fallback:a,b", err=True
    )
