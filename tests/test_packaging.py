"""pyproject.toml, environment.yml and constraints.txt say the same."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

TOP = Path(__file__).parents[1]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
EXTRAS = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]


def ranges(texts: list[str]) -> dict[str, str]:
    """Canonical name to specifier; no name twice."""
    needs = [Requirement(text) for text in texts]
    found = {canonicalize_name(need.name): str(need.specifier) for need in needs}
    assert len(found) == len(needs)
    return found


def pins() -> dict[str, str]:
    lines = [line for line in (TOP / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    odd = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line)]
    assert not odd, "names and versions only"
    pairs = [line.split("==") for line in lines]
    assert len({canonicalize_name(name) for name, _ in pairs}) == len(pairs)
    return {canonicalize_name(name): pin for name, pin in pairs}


def conda() -> tuple[list[str], list[str]]:
    """What environment.yml takes from conda and what from pip."""
    _, _, listed = (TOP / "environment.yml").read_text().partition("\ndependencies:\n")
    own, _, pip = listed.partition("- pip:\n")
    return re.findall(r"^  - (\S+)$", own, re.M), re.findall(r"^      - (\S+)$", pip, re.M)


def test_conda_users_get_the_same_ranges() -> None:
    own, pip = conda()
    assert ranges(pip) == ranges(PROJECT["dependencies"])
    assert f"python{PROJECT['requires-python']}" in own and "pip" in own


def test_constraints_have_no_addresses() -> None:
    text = (TOP / "constraints.txt").read_text()
    assert "://" not in text and "--" not in text and "@" not in text
    assert len(pins()) > len(PROJECT["dependencies"])


@pytest.mark.parametrize("text", PROJECT["dependencies"] + EXTRAS)
def test_every_range_has_a_tested_version_inside_it(text: str) -> None:
    need = Requirement(text)
    assert need.marker is None and need.specifier, "a range, for every machine"
    assert need.specifier.contains(Version(pins()[canonicalize_name(need.name)]))


def test_weights_go_into_the_wheel(tmp_path: Path) -> None:
    """hatchling takes every file of the package that .gitignore does not name."""
    wheel = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["reidkit"]}
    (tmp_path / ".gitignore").write_text((TOP / ".gitignore").read_text())
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)  # without what one checkout ignores beside it
    files = [f"reidkit/weights/resnet18/{name}" for name in ("model.safetensors", "card.json", "history.csv")]
    assert subprocess.run(["git", "-C", str(tmp_path), "check-ignore", *files], check=False).returncode == 1


def test_every_dependency_has_a_reason() -> None:
    lines = (TOP / "pyproject.toml").read_text().splitlines()
    for text in PROJECT["dependencies"] + EXTRAS:
        (line,) = [line for line in lines if f'"{text}"' in line]
        assert re.search(r",\s+# \w+", line), f"{text} has no reason beside it"
