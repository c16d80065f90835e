"""The credential store: a file a login in the state directory, readable by its owner alone.

    credentials/                          0700
        huggingchat-1f2e3d4c.json         0600; the number is that of the base URL
        .lock                             held while a file is compared and replaced

A file is replaced whole or not at all. What others can read, or could have put there, is refused.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import evolve

from fanout.credentials import VERSION, Credentials, command
from fanout.credentials.secret import Secret
from fanout.errors import UsageError
from fanout.login.services import SERVICES, normalise
from fanout.login.sources import from_environment
from fanout.storage.folder import Folder, open_folder
from fanout.storage.places import app_directory

SETTLED = timedelta(minutes=1)
"""By so much the end of stored credentials may be out of date."""


def directory() -> Path:
    """Returns the directory of the store. Raises UsageError."""
    return app_directory("state") / "credentials"


def name_of(provider: str, base_url: str) -> str:
    """The name of the file with this provider's credentials for this base URL. Raises UsageError."""
    if not re.fullmatch(r"\w[\w.-]*", provider):
        raise UsageError(f"{provider!r} is not the name of a provider")
    return f"{provider}-{sha256(normalise(base_url).encode()).hexdigest()[:8]}.json"


def load(provider: str, base_url: str) -> Credentials | None:
    """The stored credentials; where none are stored, those of the environment; None if there are neither.

    Raises UsageError where they cannot be used, with what to do about it.
    """
    with _open_stored() as folder:
        found = _read(folder, provider, base_url)
    return found or from_environment(provider, base_url)


def save(credentials: Credentials, *, wait: bool = True) -> None:
    """Stores credentials in place of others for the same provider and base URL.

    Raises UsageError, and Busy if it is not to `wait` for a process that changes the store just now.
    """
    with open_folder(directory(), create=True) as folder, folder.lock(wait=wait):
        _write(folder, credentials)


def refresh(credentials: Credentials, *, wait: bool = True) -> bool:
    """Stores what was renewed of the account that is stored; False if that is another account by now, or none.

    Raises as `save` does.
    """
    with _open_stored() as folder, folder.lock(wait=wait):
        current = _read(folder, credentials.provider, credentials.base_url)
        if current is None or current.account != credentials.account:
            return False
        if not _nearly_equal(current, credentials):
            _write(folder, credentials)
        return True


def delete_if(credentials: Credentials, *, wait: bool = True) -> bool:
    """Deletes these credentials; False if they are not the stored ones (any more). Raises as `save` does."""
    with _open_stored() as folder, folder.lock(wait=wait):
        current = _read(folder, credentials.provider, credentials.base_url)
        if current is None or current.account != credentials.account:
            return False
        folder.remove(name_of(credentials.provider, credentials.base_url))
        return True


def delete(provider: str, base_url: str | None = None) -> int:
    """Deletes what is stored for a provider, at one base URL or all, readable or not; returns how many there were.

    Raises UsageError.
    """
    of_all = re.compile(rf"{re.escape(provider)}-[0-9a-f]{{8}}\.json")
    wanted = of_all if base_url is None else re.compile(re.escape(name_of(provider, base_url)))
    with open_folder(directory()) as folder, folder.lock():
        names = [name for name in folder.names() if wanted.fullmatch(name)]
        for name in names:
            folder.remove(name)
    return len(names)


def load_all() -> tuple[list[Credentials], list[UsageError]]:
    """All that is stored, by name, and why some of it cannot be read. Raises UsageError if the directory is refused."""
    found: list[Credentials] = []
    problems: list[UsageError] = []
    with open_folder(directory()) as folder:
        for name in folder.names():
            if re.fullmatch(r"\w.*\.json", name):
                try:
                    remedy = _remedy(f"fanout auth logout {name.rpartition('-')[0]}")  # the address is not known
                    found += filter(None, [_read_named(folder, name, remedy)])
                except UsageError as error:
                    problems.append(error)
    return found, problems


def open_login_file(provider: str, base_url: str) -> int:
    """Opens the file that the one process locks which logs in to this service; a descriptor. Raises UsageError."""
    name = name_of(provider, base_url).replace(".json", ".login")
    with open_folder(directory(), create=True) as folder:
        return folder.open(name, os.O_RDWR | os.O_CREAT)


@contextmanager
def _open_stored() -> Iterator[Folder]:
    """Opens the store to look into it: without a home nothing is stored, and the environment may hold a login."""
    try:
        path = directory()
    except UsageError:
        yield Folder(Path(), None)
        return
    with open_folder(path) as folder:
        yield folder


def _nearly_equal(one: Credentials, other: Credentials) -> bool:
    """True if they differ at most in a little of their end: each answer moves it, and not each is worth a write."""
    if one.expires and other.expires and abs(one.expires - other.expires) < SETTLED:
        return evolve(one, expires=other.expires) == other
    return one == other


def _read(folder: Folder, provider: str, base_url: str) -> Credentials | None:
    name = name_of(provider, base_url)
    home = SERVICES[provider].base_url if provider in SERVICES else base_url
    remedy = _remedy(command("auth logout", provider, base_url, home))
    found = _read_named(folder, name, remedy)
    if found and (found.provider, normalise(found.base_url)) != (provider, normalise(base_url)):
        raise UsageError(f"{folder.path / name} holds the login to another service; {remedy}")
    return found


def _read_named(folder: Folder, name: str, remedy: str) -> Credentials | None:
    """Reads the file of this name, None if there is none. Raises UsageError, which repeats nothing of it."""
    data = folder.read(name)
    if data is None:
        return None
    try:
        return structure(json.loads(data))
    except UsageError as error:
        raise UsageError(f"{folder.path / name}: {error}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{folder.path / name} is damaged; {remedy}") from None


def _write(folder: Folder, credentials: Credentials) -> None:
    data = json.dumps(_converter().unstructure(credentials), indent=1)
    folder.replace(name_of(credentials.provider, credentials.base_url), data.encode())


def _remedy(logout: str) -> str:
    return f"{logout}, and log in again"


def structure(value: Any) -> Credentials:
    """The credentials that a stored object stands for; fields that it has besides are ignored.

    Raises UsageError, which repeats nothing of it.
    """
    from cattrs import BaseValidationError, transform_error  # noqa: PLC0415  # see _converter

    if not isinstance(value, dict):
        raise UsageError("this holds no credentials")
    version = value.get("version")
    if isinstance(version, int) and version > VERSION:
        raise UsageError(f"a newer fanout wrote this, in form {version} where {VERSION} is known; update fanout")
    try:
        credentials: Credentials = _converter().structure(value, Credentials)
    except BaseValidationError as error:
        places = transform_error(error, "", lambda *_: "")
        where = ", ".join(sorted({place.rpartition(" @ ")[2].removeprefix(".") for place in places}))
        raise UsageError(f"this holds no credentials, see {where}") from None
    return credentials


@cache
def _converter() -> Any:
    # Imported when it is needed: cattrs costs more than half an `import trio`.
    from cattrs import Converter  # noqa: PLC0415

    converter = Converter()
    converter.register_unstructure_hook(Secret, Secret.reveal)
    converter.register_structure_hook(Secret, lambda value, _: Secret(_text(value)))
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_structure_hook(datetime, lambda value, _: _moment(value))
    converter.register_structure_hook(str, lambda value, _: _text(value))
    return converter


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
