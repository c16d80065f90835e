"""curl_cffi's table of libcurl's numbers, read without its package: that would attach its own callbacks."""

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def load_constants() -> ModuleType:
    """The module `curl_cffi.const`, under another name."""
    package = find_spec("curl_cffi")
    assert package and package.origin
    spec = spec_from_file_location("constants_of_curl_cffi", Path(package.origin).with_name("const.py"))
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
