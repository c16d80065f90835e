"""The environment of the processes that we start: what programs need to run, and neither keys nor logins."""

import os
import re
from collections.abc import Mapping

_NEEDED = re.compile(
    # The user and the system; where programs, libraries, certificates and temporary files are. LC_ with any other name
    # may be somebody's own, because ssh takes all of LC_* along.
    r"(PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_(ALL|COLLATE|CTYPE|MESSAGES|MONETARY|NUMERIC|TIME)|TZ|TERM|TMPDIR|TEMP|TMP|XDG_\w+|SSL_CERT_(FILE|DIR)"
    r"|LD_LIBRARY_PATH|DYLD_\w+|SYSTEMROOT|SystemRoot|COMSPEC|ComSpec|APPDATA|LOCALAPPDATA|USERPROFILE|PATHEXT"
    # The interpreter, and the runtimes that compute.
    r"|PYTHON\w+|VIRTUAL_ENV|CUDA_\w+|NVIDIA_\w+|GGML_\w+|OMP_\w+|KMP_\w+|HIP_\w+|ROCR_\w+|HSA_\w+|VK_\w+|MALLOC_\w+"
    # A browser's display.
    r"|DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|DBUS_SESSION_BUS_ADDRESS|GDK_\w+|GTK_\w+|QT_\w+|FONTCONFIG_\w+|CHROME_\w+"
    r"|(http|https|all|no|HTTP|HTTPS|ALL|NO)_(proxy|PROXY))"
)
_SECRET = re.compile("KEY|TOKEN|SECRET|PASS|COOKIE|CREDENTIAL|LOGIN", re.IGNORECASE)
_PASSWORD = re.compile(r"(//|^)[^/?#\s]*@")
_INSTALLERS = re.compile(r"(PIP|UV|NETRC|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|KEYRING)(_\w+)?")


def child_environment(environ: Mapping[str, str] | None = None, *, installer: bool = False) -> dict[str, str]:
    """Returns what a child process gets of the environment: what is known to be needed, and nothing else.

    A variable of any name may hold a key, so that no list of names to leave out could be whole. What looks like a
    secret stays out even so, as does a proxy's password. An `installer` such as pip gets its own settings too, in
    which the credentials of its index and proxy may stand.
    """
    given = os.environ if environ is None else environ
    found: dict[str, str] = {}
    for name, value in given.items():
        own = installer and bool(_INSTALLERS.fullmatch(name) or name.lower().endswith("_proxy"))
        if own or (_NEEDED.fullmatch(name) and not _SECRET.search(name)):
            found[name] = value if own else _PASSWORD.sub(r"\1", value)
    return found
