import subprocess
import sys

from fanout.transports.stamps import Stamp, wants_stamps
from tests.transports.test_contract import Ears


class Watch(Ears):
    """A receiver that wants stamps."""

    def note_sent(self, at: float, connect: float | None, tls: float | None, /) -> None: ...

    def note_stamp(self, stamp: Stamp, /) -> None: ...


def test_a_receiver_that_can_be_told_of_stamps_wants_them() -> None:
    assert wants_stamps(Watch())
    assert not wants_stamps(Ears())


def test_who_is_told_of_stamps_needs_no_libcurl() -> None:
    code = "import sys; sys.modules['curl_cffi'] = None; import fanout.transports.stamps, fanout.bench.load.arrivals"
    subprocess.run([sys.executable, "-c", code], check=True)
