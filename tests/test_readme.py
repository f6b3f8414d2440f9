"""The README's code runs, its commands are those of the command line, and what it links is there.

Its numbers are held against the measured tables in test_results.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reidkit import cli

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link.split("#")[0]).exists()] == []


def test_every_command_is_listed_and_every_listed_command_exists() -> None:
    listed = re.findall(r"^    reidkit ((?:data )?[a-z]+)", TEXT, re.M)
    names = {command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    inner = {f"data {command.name}" for command in cli.data.registered_commands}
    assert set(listed) == names | inner


def test_the_tree_names_every_module() -> None:
    tree = TEXT[TEXT.index("## The tree") :]
    names = {path.stem for path in (ROOT / "reidkit").glob("*.py")} - {"__init__", "__main__"}
    names |= {path.name for path in (ROOT / "reidkit").iterdir() if (path / "__init__.py").exists()}
    assert sorted(name for name in names if not re.search(rf"\b{name}\b", tree)) == []


def test_every_lesson_is_listed() -> None:
    assert all(f"notebooks/{path.name}" in TEXT for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
