"""Which code a run learnt by: what changes the hash and what does not."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from reidkit import losses, train
from reidkit.source import source_hash
from reidkit.systems import SYSTEMS, System

CODE = '''
"""A system."""
import math
from dataclasses import dataclass
import torch

SCALE = {"a": (1, 2.0)}
OTHER = 3

def halved(x):
    """Half."""
    return x / 2

def loss(x):
    return halved(x) * SCALE["a"][0] + math.sqrt(4)

class Base:
    weight = 1.0

class Mine(Base):
    RECIPES = {"quick": {"epochs": 1}}

    @dataclass(frozen=True)
    class Options:
        margin: float = 0.3

    @torch.no_grad()
    def objective(self, x):
        # what is minimised
        return [loss(x) for _ in range(2)]

    @staticmethod
    def asked(options):
        return options.OTHER
'''


@pytest.fixture
def hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The hash of Mine in CODE with a piece of text replaced by another."""

    def of(old: str = "", new: str = "") -> str:
        name = f"module{len(list(tmp_path.iterdir()))}"
        file = tmp_path / f"{name}.py"
        assert old in CODE
        file.write_text(CODE.replace(old, new, 1) if old else CODE)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return source_hash(module.Mine)

    return of


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x / 2", "x / 3"),  # of a function that a function of a method names
        ("[0] + math", "[0] - math"),
        ("(1, 2.0)", "(1, 2.5)"),
        ("margin: float = 0.3", "margin: float = 0.4"),
        ("weight = 1.0", "weight = 2.0"),  # of what it inherits from
        ("range(2)", "range(3)"),
        ("@torch.no_grad()", ""),
        ("options.OTHER", "options.SCALE"),
    ],
)
def test_what_is_learnt_by_changes_it(old: str, new: str, hashed: Callable[..., str]) -> None:
    assert hashed(old, new) != hashed() == hashed()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Half."""', '"""The half of it."""'),
        ("# what is minimised", "# the loss"),
        ("halved(x) * SCALE", "(\n        halved(x)\n    ) * SCALE"),
        ('"epochs": 1', '"epochs": 2'),  # the recipe of a run has it
        ("OTHER = 3", "OTHER = 4"),  # an attribute of the same name is not the global
        ("import math\n", "import math\nimport os\n"),
    ],
)
def test_what_is_not_learnt_by_does_not(old: str, new: str, hashed: Callable[..., str]) -> None:
    assert hashed(old, new) == hashed()


def test_losses_and_augmentation_of_the_package_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def hashes() -> dict[str, str]:
        return {name: source_hash(own, train.augmented, known=(System,)) for name, own in SYSTEMS.items()}

    def other(scores: object) -> object:
        return scores

    before = hashes()
    assert len(set(before.values())) == len(SYSTEMS) and before == hashes()
    with monkeypatch.context() as patch:
        patch.setattr(losses, "cross_entropy", other)  # named by other losses of its module
        patch.setattr(importlib.import_module("reidkit.systems.baseline"), "cross_entropy", other)
        changed = {name for name, own in hashes().items() if own != before[name]}
    assert "baseline" in changed and not changed & {"histogram", "sharenet"}
    monkeypatch.setattr(train, "flip", other)
    assert all(own != before[name] for name, own in hashes().items())


def test_a_cell_of_a_notebook_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no file behind `__main__`; methods still know their text."""
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)

    def run(number: int, text: str) -> str:
        import linecache

        file = f"<cell {number}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), vars(module))
        return source_hash(module.Mine)

    assert run(1, CODE) == run(2, CODE + "# more\n") != run(3, CODE.replace("x / 2", "x / 4"))
