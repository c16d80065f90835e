import signal

import pytest

from tests import tools


def pytest_configure() -> None:
    """Hears interrupts, which some tests send, also where a shell has started it in the background, deaf to them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Starts the slow checkers before the first test, if any test is going to ask for them."""
    if any("test_tool_" in item.name for item in session.items) and len(session.items) > len(tools.TOOLS):
        tools.started()
