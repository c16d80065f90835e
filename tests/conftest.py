import signal

import pytest

from tests import tools


def pytest_configure() -> None:
    """Hears interrupts, which some tests send, also where a shell has started it in the background, deaf to them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Starts the slow checkers before the first test, if all of them are going to be asked for."""
    checks = [item for item in session.items if getattr(item, "originalname", "") == "test_checker_finds_nothing"]
    if len(checks) == len(tools.TOOLS):
        tools.start()
