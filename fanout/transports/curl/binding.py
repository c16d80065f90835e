"""curl_cffi's C layer without its package, whose import takes 40 ms for sessions on asyncio that nobody here opens.

The layer is one extension module, `curl_cffi._wrapper`, which imports nothing of the package. It is loaded from the
file that the package would load it from, and leaves no module behind: whoever imports curl_cffi before or after this
gets all of it, and the same `ffi` and `lib`.
"""

import sys
from importlib.machinery import ExtensionFileLoader, PathFinder
from types import ModuleType
from typing import Any

_PACKAGE = "curl_cffi"
_LAYER = "curl_cffi._wrapper"


def load() -> tuple[Any, Any, bool]:
    """Returns `ffi` and `lib`, and True if the package has not been imported for them.

    In that case Python functions must be attached to the callbacks in `lib`, which the package does when it is
    imported. Raises ImportError where curl_cffi is missing or does not run.
    """
    layer = None if _PACKAGE in sys.modules else _load_alone()
    if layer is not None:
        return layer.ffi, layer.lib, True
    from curl_cffi._wrapper import ffi, lib  # noqa: PLC0415  # the package, where it is there or is built otherwise

    return ffi, lib, False


def _load_alone() -> ModuleType | None:
    """Loads the extension module; returns None if it is not where it is expected, or cannot be loaded."""
    package = PathFinder.find_spec(_PACKAGE)
    places = package.submodule_search_locations if package is not None else None
    spec = PathFinder.find_spec(_LAYER, places) if places is not None else None
    if spec is None or not isinstance(spec.loader, ExtensionFileLoader):
        return None
    before = sys.modules.get(_LAYER)
    try:
        layer = spec.loader.create_module(spec)
        spec.loader.exec_module(layer)
    except ImportError:  # the package says it better
        return None
    finally:
        sys.modules.pop(_LAYER, None)
        if before is not None:
            sys.modules[_LAYER] = before
    return layer if hasattr(layer, "ffi") and hasattr(layer, "lib") else None
