"""The house's own rules that no tool knows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "reidkit"
FILES = sorted(PACKAGE.rglob("*.py"))
SYSTEMS = {"network", "system", "model", "module", "chosen"}  # what a network, a system or its class is called


def probes(text: str) -> Iterator[str]:
    """Calls of hasattr or getattr on a network or a system."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr"):
            asked = node.args[0]
            last = asked.func if isinstance(asked, ast.Call) else asked  # network(images), run.network
            name = last.attr if isinstance(last, ast.Attribute) else last.id if isinstance(last, ast.Name) else ""
            if name in SYSTEMS or name.startswith("system_"):
                yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_network_or_system_is_probed(path: Path) -> None:
    """What a system has stands in `systems.System`, with a default for all that not every system has."""
    assert not list(probes(path.read_text()))


def test_probes_are_seen() -> None:
    text = """
if hasattr(run.network, "evidence") or getattr(network(images), "attention", None) or hasattr(system, "invent"):
    getattr(system_of(recipe.system), "learns_attributes", None), getattr(module, "VARIANTS", {})
getattr(self, name), hasattr(os, "geteuid"), network.tasks
"""
    assert len(list(probes(text))) == 5
