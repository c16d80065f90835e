"""What the user of `fanout bench` has asked for."""

from pathlib import Path

from attrs import frozen


@frozen
class Wish:
    """What the user wants measured, and how; None or empty: as usual."""

    lanes: tuple[str, ...]
    requests: int | None
    duration: float | None
    until_ci: float | None
    concurrency: list[int]
    rate: list[float]
    arrival: str
    burstiness: float
    ramp: float | None
    trace: str | None
    speedup: float
    prompts: str
    system: str | None
    options: tuple[tuple[str, str], ...]
    max_tokens: int
    ignore_eos: bool
    warmup: int
    timeout: float
    slo: str
    order: str
    cache: str
    fresh_connections: bool
    seed: int
    aa: bool
    baseline: str | None
    max_cost: float | None
    out: Path | None
    as_json: bool
    no_save: bool
    asserts: tuple[str, ...]
    transport: str | None
    quiet: bool
