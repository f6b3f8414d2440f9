"""What a recipe trains on and whom it holds out: people never stand on both sides, attributes come where needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from reidkit import course
from reidkit.attributes import MARKET, read_attributes
from reidkit.course import run as lessons
from reidkit.errors import InputError
from reidkit.images import read_images
from reidkit.recipes import recipe
from reidkit.runs import load_or_fit

TINY: dict[str, Any] = {"height": 32, "width": 16, "precision": "32-true"}
TINY |= {"pretrained": "none", "backbone_lr": 1.0}
OWN = recipe("two_stage", **TINY)  # 60/40


@pytest.fixture
def images(tmp_path: Path) -> pd.DataFrame:
    return read_images("synthetic", fakes.synthetic(tmp_path / "synthetic"))


def test_the_split_is_by_people(images: pd.DataFrame) -> None:
    train, validation = course.sets(OWN, images)
    assert validation is not None and OWN.validation == 0.4
    assert (len(train.people), len(validation.people)) == (3, 2)
    assert not set(train.people) & set(validation.people)
    assert sorted(train.people + validation.people) == [2, 7, 10, 11, 12]
    for part in (train, validation):
        assert set(part.table["pid"]) == set(part.people) and part.pixels.shape == (len(part), 3, 32, 16)
        assert sorted(set(part.label.tolist())) == list(range(len(part.people)))  # numbered for themselves
    paths = [*train.table["path"], *validation.table["path"]]
    assert sorted(paths) == sorted(images.loc[images["split"] == "train", "path"])
    assert (images["split"] == "train").sum() == 10  # the table given is left as it is


def test_the_split_depends_on_the_seed_alone(images: pd.DataFrame) -> None:
    def held_out(**changes: Any) -> tuple[int, ...]:
        train, validation = course.sets(replace(OWN, **changes), images)
        again = course.sets(replace(OWN, **changes), images)[0]
        assert validation is not None and again.people == train.people and torch.equal(again.pixels, train.pixels)
        return validation.people

    assert held_out() == held_out(lr=0.5, options={"loss": "focal"}) == held_out(negatives="random")  # all see the same
    assert len({held_out(seed=seed) for seed in range(6)}) > 1
    assert len(held_out(validation=0.2)) == 1 and len(held_out(validation=0.99)) == 4


def test_attributes_come_where_the_system_learns_them(images: pd.DataFrame) -> None:
    every = read_attributes("synthetic", images.attrs["root"])
    train, validation = course.sets(OWN, images)
    assert validation is not None and train.tasks == validation.tasks == MARKET.tasks
    for part in (train, validation):
        assert part.attributes.tolist() == every.of(part.table["pid"]).tolist() and (part.attributes >= 0).all()
    fewer, held_out = course.sets(OWN, images, every.only(["upcolor", "hat"]))
    assert held_out is not None and [task.name for task in fewer.tasks] == ["upcolor", "hat"]
    assert fewer.attributes.shape == (len(fewer), 2) and held_out.tasks == fewer.tasks


def test_systems_without_attributes_or_validation_get_neither(images: pd.DataFrame, tmp_path: Path) -> None:
    train, validation = course.sets(recipe("baseline", **TINY), images)
    assert validation is None and train.tasks == () and train.attributes.shape == (10, 0)
    assert train.people == (2, 7, 10, 11, 12)
    given, _ = course.sets(recipe("baseline", **TINY), images, read_attributes("synthetic", images.attrs["root"]))
    assert given.tasks == MARKET.tasks
    bare = read_images("market1501", fakes.market(tmp_path / "market"))
    with pytest.raises(InputError, match=r"no market_attribute\.mat"):
        course.sets(replace(OWN, dataset="market1501"), bare)


def test_the_lessons_share_one_baseline() -> None:
    small = course.baseline_recipe("synthetic", "quick")
    assert (small.height, small.width, small.pretrained) == (64, 32, "synthetic")
    for dataset, profile in (("synthetic", "smoke"), ("synthetic", "paper"), ("viper", "quick")):
        assert course.baseline_recipe(dataset, profile) == recipe("baseline", profile, dataset=dataset)


def test_part_maps_come_where_a_system_learns_them(images: pd.DataFrame) -> None:
    own, root = recipe("start", **TINY), Path(images.attrs["root"])
    with pytest.raises(InputError, match=r"there is no part map of .*: only the synthetic people have them"):
        course.sets(own, images)
    (root / "parts" / "bounding_box_train").mkdir(parents=True)
    for number, path in enumerate(images.loc[images["split"] == "train", "path"]):
        whole = Image.new("L", (64, 128), number)
        whole.save(root / "parts" / "bounding_box_train" / f"{Path(path).stem}.png")
    train, validation = course.sets(own, images)
    order = images.loc[images["split"] == "train", "path"].tolist()
    expected = [order.index(path) for path in train.table["path"]]
    assert train.parts is not None and train.parts.shape == (len(train), 32, 16)
    assert train.parts.flatten(1).tolist() == [[number] * 512 for number in expected]
    assert validation is None and course.sets(OWN, images)[0].parts is None
    batch = train.batch(np.array([2, 0]))
    assert torch.equal(batch["parts"], train.parts[[2, 0]])


def test_what_sets_gives_can_be_trained_on(
    images: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reidkit.train.build", fakes.tiny_backbone)
    own = replace(OWN, epochs=1, batch=4)
    run = load_or_fit(own, *course.sets(own, images), runs=tmp_path / "runs", progress=False, say=lambda _: None)
    assert run.tasks == MARKET.tasks and {"val_loss", "val_hat", "val_accuracy"} <= set(run.history)
    again = load_or_fit(own, *course.sets(own, images), runs=tmp_path / "runs", progress=False, say=lambda _: None)
    assert again.how == "loaded" and again.folder == run.folder


def test_the_course_imports_neither_torch_nor_what_runs_notebooks() -> None:
    code = "import sys; from reidkit.course import papers, warm_kernels; print({'torch', 'nbclient'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


LESSON = """
import os
from pathlib import Path
from reidkit import course
folder = course.figures_folder("synthetic", "smoke")
folder.mkdir(parents=True, exist_ok=True)
_ = (folder / "{name}.png").write_bytes(b"a picture")
{more}
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A course of two lessons that draw a figure each; runs it and says which lessons ran, which were kept."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "figures").mkdir()
    lesson(tmp_path, "00_one")
    lesson(tmp_path, "01_two")
    images = pd.DataFrame({"path": ["a.jpg"], "pid": [1]})
    images.attrs["root"] = str(tmp_path / "datasets" / "market")
    (tmp_path / "datasets" / "market").mkdir(parents=True)
    monkeypatch.setattr(course, "home", lambda: tmp_path)
    monkeypatch.setattr(course, "prepare", lambda *_, **__: images)

    def ran(path: Path, out: Path, *, standing: str, **_: Any) -> lessons.Executed:
        """Not in a kernel, whose reidkit would have its own home; the rest is as it is."""
        source = nbformat.read(path, 4)
        exec(source.cells[0].source, {})
        source.metadata["reidkit"] = {"standing": standing, "figures": [f"{path.stem}.png"]}
        out.mkdir(parents=True, exist_ok=True)
        nbformat.write(source, out / path.name)
        return lessons.Executed(path.stem, 1.0, out / path.name, 1)

    monkeypatch.setattr(lessons, "execute", ran)

    def run(**options: Any) -> list[str]:
        done = lessons.run("smoke", progress=False, say=lambda _: None, **options)
        return [f"{each.name[:2]} {'kept' if each.kept else 'ran'}" for each in done]

    return run


def lesson(home: Path, name: str, more: str = "") -> None:
    cells = [nbformat.v4.new_code_cell(LESSON.format(name=name, more=more))]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), home / "notebooks" / f"{name}.ipynb")


def test_a_second_course_keeps_what_stands(small: Callable[..., list[str]]) -> None:
    assert small() == ["00 ran", "01 ran"]
    assert small() == ["00 kept", "01 kept"] == small()
    assert small(again=True, only="01") == ["01 ran"] and small() == ["00 kept", "01 kept"]


def test_a_lesson_runs_again_when_what_it_depends_on_has_changed(
    small: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small()
    lesson(tmp_path, "01_two", more="one_more_line = 1")
    assert small() == ["00 kept", "01 ran"]
    (tmp_path / "figures" / "synthetic-smoke" / "00_one.png").unlink()
    assert small() == ["00 ran", "01 kept"]
    both = ["00 ran", "01 ran"]
    (tmp_path / "figures" / "measured.csv").write_text("a\n1\n")
    assert small() == both and small() != both
    (tmp_path / "datasets" / "market" / "annotation.mat").touch()
    assert small() == both and small() != both
    (tmp_path / "datasets" / "other").mkdir()  # lesson 01 looks whether the real one is there
    assert small() == both and small() != both
    (tmp_path / "datasets" / "synthetic-full").mkdir()
    assert small() != both
    monkeypatch.setattr(lessons, "environment", lambda: {"torch": "99", "git": "abc"})
    assert small() == both
    monkeypatch.setattr(lessons, "environment", lambda: {"torch": "99", "git": "def"})
    assert small() != both


def test_a_kept_lesson_without_its_figures_runs_again(small: Callable[..., list[str]], tmp_path: Path) -> None:
    small()
    path = tmp_path / "course" / "synthetic-smoke" / "01_two.ipynb"
    kept = nbformat.read(path, 4)
    kept.cells[0].metadata = {"mystnb": {"image": {"alt": "Two dots and a line."}}}
    kept.cells[0].outputs = [nbformat.v4.new_output("display_data", {"image/png": "aaaa"})]
    nbformat.write(kept, path)
    assert small() == ["00 kept", "01 kept"]
    kept.cells[0].outputs = []
    nbformat.write(kept, path)
    assert small() == ["00 kept", "01 ran"]


def test_a_course_goes_on_where_it_was(small: Callable[..., list[str]], tmp_path: Path) -> None:
    lesson(tmp_path, "01_two", more="1 / 0")
    with pytest.raises(ZeroDivisionError):
        small()
    lesson(tmp_path, "01_two")
    assert small() == ["00 kept", "01 ran"]
