"""curl_cffi's C layer alone, and beside the package: whoever imports that, and whenever, both work."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

ALONE = """
import sys
from fanout.transports.curl import libcurl
assert libcurl.ALONE, "curl_cffi is built in another way: see fanout/transports/curl/binding.py"
"""

NOTHING_MORE = """
assert not {"curl_cffi", "curl_cffi._wrapper", "asyncio"} & set(sys.modules)
"""

THE_SAME = """
import curl_cffi, curl_cffi._wrapper
assert curl_cffi.lib is libcurl.lib and curl_cffi.ffi is libcurl.ffi and curl_cffi._wrapper.lib is libcurl.lib
"""

CONTRACT = """
import pytest
files = ["tests/transports/curl/test_libcurl.py", "tests/transports/test_contract.py"]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "not httpx and not brows", *files]) or ALSO)
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_c_layer_is_loaded_without_the_package_and_leaves_no_module_behind() -> None:
    run(ALONE + NOTHING_MORE)


def test_a_browsers_habits_do_not_import_the_package_which_would_hold_up_all_lanes() -> None:
    browsers = """
from fanout.transports.curl.numbers import NEWEST
for browser in NEWEST:
    assert libcurl.is_browser(browser)
"""
    run(ALONE + browsers + NOTHING_MORE)


def test_a_browser_that_libcurl_does_not_know_by_our_table_is_looked_up_in_the_packages() -> None:
    run(f"{ALONE}libcurl.NEWEST['chrome'] = 'chrome1'\nassert libcurl.is_browser('chrome')")


def test_who_imports_the_package_later_gets_all_of_it_and_the_same_library() -> None:
    run(ALONE + THE_SAME)


def test_where_the_package_is_there_already_it_is_used() -> None:
    run(f"import curl_cffi\nfrom fanout.transports.curl import libcurl\nassert not libcurl.ALONE{THE_SAME}")


@pytest.mark.parametrize(
    ("name", "otherwise"),
    [("PathFinder.find_spec", "return None"), ("ExtensionFileLoader.exec_module", "raise ImportError")],
)
def test_where_the_layer_is_not_as_expected_the_package_is_imported(name: str, otherwise: str) -> None:
    run(f"""
from importlib import machinery
as_usual = machinery.{name}
called = []

def once_otherwise(*about):
    if not called and "curl_cffi._wrapper" in repr(about):
        called.append(about)
        {otherwise}
    return as_usual(*about)

machinery.{name} = once_otherwise
from fanout.transports.curl import libcurl
assert called and not libcurl.ALONE
{THE_SAME}
""")


def test_without_curl_cffi_it_is_an_import_error_that_names_it() -> None:
    run("""
import sys
from importlib import util
sys.modules["curl_cffi"] = None
try:
    from fanout.transports.curl import libcurl
except ImportError as error:
    assert "curl_cffi" in str(error)
else:
    raise AssertionError
""")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "last"),
    [(ALONE, '"curl_cffi" in sys.modules'), (ALONE + THE_SAME, "0"), ("import sys, curl_cffi", "0")],
    ids=["alone", "imported later", "imported before"],
)
def test_the_contract_holds_with_the_callbacks_of_either(first: str, last: str) -> None:
    run(first + CONTRACT.replace("ALSO", last))


@pytest.mark.slow
def test_the_package_may_come_and_do_its_own_requests_while_a_transfer_is_under_way() -> None:
    run(f"""
import trio
{ALONE}
from fanout.abc import Request
from fanout.transports.curl import CurlTransport
from tests.servers.script import open_script_server
from tests.transports.test_contract import Ears

def fetch(url):
    import asyncio, curl_cffi
    async def fetch():
        async with curl_cffi.AsyncSession() as session:
            return [(await session.post(url)).content for _ in range(3)]
    return asyncio.run(fetch()) + [curl_cffi.post(url).content]

async def main():
    pieces = [b"%d" % number for number in range(300)]
    ears = [Ears() for _ in range(5)]
    script = [step for piece in pieces for step in (piece, 0.003)]
    async with open_script_server(script) as slow, open_script_server([b"a", 0.01, b"b"]) as quick:
        async with CurlTransport() as transport, trio.open_nursery() as nursery:
            for one in ears:
                nursery.start_soon(transport.exchange, Request("POST", slow.url), one, 5)
            await trio.sleep(0.1)
            assert all(one.pieces for one in ears) and "curl_cffi" not in sys.modules
            assert await trio.to_thread.run_sync(fetch, quick.url) == [b"ab"] * 4
            assert not any(one.body.endswith(pieces[-1]) for one in ears), "all was over too soon"
    assert all(one.body == b"".join(pieces) for one in ears)

trio.run(main)
""")
