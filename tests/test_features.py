"""Descriptors beside their table: kept, reused, and refused where the file is something else."""

from __future__ import annotations

import colorsys
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from reidkit import features, finding
from reidkit.attributes import MARKET, read_attributes
from reidkit.data import Targets, load, standardise
from reidkit.errors import InputError
from reidkit.features import Features, answer, answers_of, describe, features_of
from reidkit.finding import features_in
from reidkit.images import read_images
from reidkit.recipes import recipe
from reidkit.runs import Run, load_or_fit
from reidkit.systems.histogram import Histogram
from reidkit.train import new_network

TINY: dict[str, Any] = {"height": 32, "width": 16, "precision": "32-true"}
TINY |= {"pretrained": "none", "backbone_lr": 1.0}


@pytest.fixture
def images(tmp_path: Path) -> pd.DataFrame:
    return read_images("market1501", fakes.market(tmp_path / "market"))


@pytest.fixture
def run(images: pd.DataFrame, tmp_path: Path) -> Run:
    """A finished run of the system that learns nothing: there at once."""
    own = recipe("histogram", dataset="market1501", **TINY)
    train = load(images[images["split"] == "train"], own.height, own.width)
    return load_or_fit(own, train, runs=tmp_path / "runs", progress=False, say=lambda _: None)


def test_features_go_through_a_file(images: pd.DataFrame, tmp_path: Path) -> None:
    rows = images[images["split"] == "gallery"].reset_index(drop=True)
    own = Features(torch.randn(len(rows), 7), rows)
    own.save(tmp_path / "f.safetensors")
    again = Features.load(tmp_path / "f.safetensors")
    assert torch.equal(again.descriptor, own.descriptor) and len(again) == len(rows)
    pd.testing.assert_frame_equal(again.table, rows)
    assert again.table.attrs == rows.attrs == images.attrs
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["f.safetensors"]  # no temporary left


@pytest.mark.parametrize("content", [None, b"", b"<html></html>", b"\x08\0\0\0\0\0\0\0{}      "], ids=str)
def test_what_holds_no_descriptors_is_refused(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "f.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match="holds no descriptors") as caught:
        Features.load(file)
    assert "\n" not in str(caught.value)
    save_file({"descriptor": torch.zeros(2, 2)}, file)  # of somebody else
    with pytest.raises(InputError, match="holds no descriptors"):
        Features.load(file)


def test_describe_is_the_network_in_order_whatever_the_batch(images: pd.DataFrame) -> None:
    own = recipe("baseline", **TINY)
    data = load(images, own.height, own.width)
    network = new_network(own, Targets(5)).train()
    found = describe(network, data, own, batch=4)
    assert found.descriptor.shape == (len(images), 512) and found.descriptor.dtype == torch.float32
    assert found.table is data.table and not network.training
    with torch.inference_mode():
        expected = network.describe(standardise(data.pixels))
    torch.testing.assert_close(found.descriptor, expected, atol=1e-4, rtol=1e-4)


def test_features_are_computed_once_and_kept(run: Run, images: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    first = features_of(run, images, "gallery")
    assert (run.folder / "features-gallery.safetensors").exists()
    assert first.table["path"].tolist() == images.loc[images["split"] == "gallery", "path"].tolist()
    monkeypatch.setattr(features, "describe", lambda *_, **__: pytest.fail("described twice"))
    again = features_of(run, images, "gallery")
    assert torch.equal(first.descriptor, again.descriptor)
    corrected = images.assign(pid=images["pid"].replace(3, 1))
    assert 3 not in set(features_of(run, corrected, "gallery").table["pid"])  # people are those of the table now


def test_features_of_other_images_are_not_reused(run: Run, images: pd.DataFrame) -> None:
    whole = features_of(run, images, "gallery")
    fewer = images[~((images["split"] == "gallery") & (images["pid"] == -1))]
    part = features_of(run, fewer, "gallery")
    assert len(part) == len(whole) - 1
    torch.testing.assert_close(part.descriptor, whole.descriptor[1:])
    with pytest.raises(InputError, match="no images of split 'val'"):
        features_of(run, images, "val")


# --- attributes ---


def untrained(data: Any, **changes: Any) -> Run:
    """A run of the system that answers attributes, as `load_run` would give it."""
    own = recipe("two_stage", **TINY, **changes)
    network = new_network(own, data.targets)
    return Run(Path("runs/own"), own, network, pd.DataFrame(), data.people, "loaded", "", data.tasks)


def test_answers_are_probabilities_whatever_the_batch(tmp_path: Path) -> None:
    root = fakes.synthetic(tmp_path / "synthetic")
    images = read_images("synthetic", root)
    data = load(images, TINY["height"], TINY["width"], attributes=read_attributes("synthetic", root))
    run = untrained(data)
    found = answer(run, data)
    assert found.tasks == MARKET.tasks and found.table is data.table and not run.network.training
    assert [p.shape for p in found.probability] == [(len(images), len(task.classes)) for task in MARKET.tasks]
    for p in found.probability:
        assert p.dtype == torch.float32 and p.min() >= 0 and not p.requires_grad
        torch.testing.assert_close(p.sum(1), torch.ones(len(images)))
    assert found.classes.shape == (len(images), 12) and found.classes.dtype == np.int64
    assert found.classes[:, 3].tolist() == found.probability[3].argmax(1).tolist()
    for batch in (1, 4):
        for one, other in zip(answer(run, data, batch=batch).probability, found.probability, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    with torch.inference_mode():
        logits = run.network.answer(standardise(data.pixels))  # type: ignore[operator]
    torch.testing.assert_close(found.probability[0], logits[0].softmax(1), atol=1e-5, rtol=1e-4)


def test_answers_are_kept_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fakes.synthetic(tmp_path / "synthetic")
    images = read_images("synthetic", root)
    data = load(images, TINY["height"], TINY["width"], attributes=read_attributes("synthetic", root))
    run = replace(untrained(data), folder=tmp_path / "run")
    run.folder.mkdir()
    first = answers_of(run, images.iloc[2:])
    assert not list(run.folder.iterdir())
    answers_of(run, images.iloc[2:], keep=True)
    assert len(list(run.folder.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(features, "answer", lambda *_, **__: pytest.fail("answered twice"))
        again = answers_of(run, images.iloc[2:].assign(pid=7), keep=True)
    assert again.tasks == first.tasks and set(again.table["pid"]) == {7} and again.table.index[0] == 0
    for one, other in zip(again.probability, first.probability, strict=True):
        torch.testing.assert_close(one, other)
    assert len(answers_of(run, images.iloc[1:], keep=True).table) == len(images) - 1  # other images are asked again
    Path(images["path"][3]).touch()  # another picture under the same name
    monkeypatch.setattr(features, "answer", lambda *_, **__: first)
    asked = len(list(run.folder.iterdir()))
    answers_of(run, images.iloc[2:], keep=True)
    assert len(list(run.folder.iterdir())) == asked + 1
    for kept in run.folder.iterdir():
        kept.write_bytes(b"broken")
    with pytest.raises(InputError, match="holds no answers"):
        answers_of(run, images.iloc[2:], keep=True)


def test_runs_without_attributes_do_not_answer(run: Run, images: pd.DataFrame) -> None:
    data = load(images, TINY["height"], TINY["width"])
    with pytest.raises(InputError, match="answers no attributes: give a run of a system, or stage, that learns them"):
        answer(run, data)
    with pytest.raises(InputError, match="answers no attributes: give a run of a system, or stage, that learns them"):
        answer(untrained(fakes.dressed(2, 2), stage="identity"), data)


# --- the system that learns nothing ---


def test_histogram_rows_have_unit_length(images: pd.DataFrame) -> None:
    own = recipe("histogram", stripes=4, hues=5, **TINY)
    found = describe(new_network(own, Targets(0)), load(images, own.height, own.width), own)
    assert found.descriptor.shape == (len(images), 4 * 5 * 3 * 3) and (found.descriptor >= 0).all()
    torch.testing.assert_close(found.descriptor.norm(dim=1), torch.ones(len(images)))


def test_histogram_equals_counting_pixel_by_pixel(rng: np.random.Generator) -> None:
    options = Histogram.Options()
    sizes = tuple(vars(options)[name] for name in ("hues", "saturations", "values"))
    palette = [
        rgb
        for rgb in rng.integers(0, 256, (400, 3)).tolist()
        if all(
            0.02 < part * n % 1 < 0.98
            for part, n in zip(colorsys.rgb_to_hsv(*(c / 255 for c in rgb)), sizes, strict=True)
        )
    ]  # no colour at the border of two bins
    palette += [[100, 100, 100], [255, 255, 255], [0, 0, 0], [200, 0, 0]]
    pixels = np.array(palette, np.uint8)[rng.integers(0, len(palette), (2, 25, 7))]  # (B, H, W, 3)
    found = Histogram(None, None, options).describe(standardise(torch.from_numpy(pixels).permute(0, 3, 1, 2)))
    for image, own in zip(pixels, found, strict=True):
        counts = np.zeros((options.stripes, *sizes))
        for y in range(25):
            for x in range(7):
                hsv = colorsys.rgb_to_hsv(*(image[y, x] / 255))
                weight = math.exp(-((((x + 0.5) / 7 - 0.5) / options.sigma) ** 2) / 2)
                cell = (min(int(part * n + 1e-6), n - 1) for part, n in zip(hsv, sizes, strict=True))
                counts[(y * options.stripes // 25, *cell)] += weight
        np.testing.assert_allclose(own, np.sqrt(counts.ravel() / counts.sum()), atol=1e-6)


def test_a_folder_is_described_once_and_follows_its_pictures(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    for i, name in enumerate(("b.png", "deep/a.PNG", "c.png")):
        fakes.image(own / name, i)
    (own / "notes.txt").write_text("no picture")
    first = features_in(run, own)
    assert [Path(p).name for p in first.table["path"]] == ["b.png", "c.png", "a.PNG"]
    assert set(first.table["pid"]) == {0} and set(first.table["camid"]) == {-1}
    described: list[int] = []
    original = features.describe

    def counted(network: Any, images: Any, *rest: Any, **more: Any) -> Features:
        described.append(len(images))
        return original(network, images, *rest, **more)

    monkeypatch.setattr(finding, "describe", counted)
    again = features_in(run, own)
    assert not described and torch.equal(again.descriptor, first.descriptor)
    (own / "b.png").unlink()
    fakes.image(own / "c.png", 9, size=(18, 40))  # changed
    fakes.image(own / "d.png", 4)
    now = features_in(run, own)
    assert described == [2] and [Path(p).name for p in now.table["path"]] == ["c.png", "d.png", "a.PNG"]
    assert torch.equal(now.descriptor[2], first.descriptor[2])
    assert not torch.equal(now.descriptor[0], first.descriptor[1])
    fresh = load(now.table, run.recipe.height, run.recipe.width, people=())
    assert torch.equal(now.descriptor, original(run.network, fresh, run.recipe).descriptor)


def test_a_folder_without_pictures_is_a_sentence(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        features_in(run, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is no picture in"):
        features_in(run, tmp_path / "empty")
    (tmp_path / "empty" / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="1 of 1 images cannot be read"):
        features_in(run, tmp_path / "empty")
