"""The example plug-in, put where an installed package would be."""

import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "fanout-echo"


def install_example(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Leaves what pip leaves of a package: its module on the path, and its metadata in `directory`."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    metadata = directory / "fanout_echo-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
    groups = project["entry-points"].items()
    lines = [
        line for group, names in groups for line in (f"[{group}]", *(f"{n} = {where}" for n, where in names.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.setattr(sys, "path", [str(directory), str(EXAMPLE), *sys.path])
