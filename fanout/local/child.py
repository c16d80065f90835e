"""The embedded model's own process: settings in on stdin, its address out on stdout, and stdin's end is its end.

It runs as a file of its own and imports nothing of fanout, so that it starts fast. The parent keeps stdin open and
writes nothing more: end of file means that the parent is gone, however it ended. While the weights are loaded the
runtime holds the interpreter's lock, so that an end in that time is noticed when loading is over.
"""

import json
import os
import signal
import sys
from typing import Any


def serve(settings: dict[str, Any]) -> Any:
    """Starts the HTTP server, which answers from threads of its own; `listening_address` says where."""
    import xllamacpp  # noqa: PLC0415  # an extra: this file can be imported without it

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.model_alias = {"local"}  # answers would carry the path of the weights otherwise
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [settings["key"]]
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["context"]
    params.ui = False
    params.endpoint_slots = False  # it would show prompts
    params.verbosity = 2  # warnings and errors: the parent keeps them for its error message
    params.fit_params = False  # measuring the device's memory takes a third of the start, and changes nothing here
    params.warmup = False
    params.cache_ram_mib = 0  # a second cache, up to 8 GiB of old prompts; every slot still keeps its last one
    params.cache_idle_slots = False  # needs that cache
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams.poll = 0  # waiting threads sleep: as fast, and the parent keeps its processor
    return xllamacpp.Server(params)


def main() -> None:
    """Reads the settings, says the address, and stays until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not be taken for the address
    if line := sys.stdin.readline():
        try:
            server = serve(json.loads(line))
        except Exception as error:  # noqa: BLE001  # whatever it is, the parent shows this line
            print(error, file=sys.stderr, flush=True)  # noqa: T201
            os._exit(1)
        answer.write(json.dumps({"address": server.listening_address}) + "\n")
        answer.close()
        while os.read(0, 1024):
            pass
    os._exit(0)  # the server's threads would outlive, or crash, an orderly exit


if __name__ == "__main__":
    main()
