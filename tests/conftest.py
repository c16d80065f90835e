import atexit
import logging
import os
import signal
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest

from fanout.errors import parsing
from tests import tools

STATE = TemporaryDirectory(prefix="fanout-state-")
"""The directory in which all tests and their processes keep what they learn: not the user's."""
atexit.register(STATE.cleanup)


def pytest_configure() -> None:
    """Hears the signals that some tests send, also where a shell or nohup has started it deaf to them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["XDG_STATE_HOME"] = STATE.name
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Starts the slow checkers before the first test, if all of them are going to be asked for."""
    checks = [item for item in session.items if getattr(item, "originalname", "") == "test_checker_finds_nothing"]
    if len(checks) == len(tools.TOOLS):
        tools.start()


@pytest.fixture(autouse=True)
def no_internal_error(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test in which code of a lane made a mistake, unless it is there to show that (`pytest.mark.internal`)."""
    noted: list[str] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.args and parsing.MISTAKE in record.args:
                noted.append(record.getMessage())

    log, handler = logging.getLogger("fanout"), Noting()
    log.addHandler(handler)
    yield
    log.removeHandler(handler)
    if noted and request.node.get_closest_marker("internal") is None:
        pytest.fail("\n".join(noted))
