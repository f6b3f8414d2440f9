"""Widgets without a browser: controls are set as a hand sets them, and what is shown is held against the library."""

from __future__ import annotations

import base64
import io
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from PIL import Image

import reidkit
from reidkit import widgets
from reidkit.attention import attribute_maps
from reidkit.attributes import Attributes, Schema
from reidkit.data import load
from reidkit.errors import InputError
from reidkit.features import Features, answers_of, describe
from reidkit.ranking import Comparison, Labels
from reidkit.recipes import recipe
from reidkit.runs import Run
from reidkit.search.reranking import rerank
from reidkit.systems import Histogram, TwoStage
from reidkit.thresholds import verification
from reidkit.thresholds.filters import filtered, leave_out
from reidkit.thresholds.verification import Pairs
from reidkit.widgets import attention_map, inputs, loss_playground, page, retrieval, view
from reidkit.widgets.inputs import pixels_of
from reidkit.widgets.retrieval import MERGED, Browser

PEOPLE = fakes.dressed(9, 4)
SIZE: dict[str, Any] = {"height": 32, "width": 16, "precision": "32-true"}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The dressed people as files: shot k of each by camera k; junk, a distractor, and a query without a match."""
    root = tmp_path_factory.mktemp("people")
    rows = []
    for i, (pid, pixels) in enumerate(zip(PEOPLE.table["pid"], PEOPLE.pixels, strict=True)):
        path, camid = root / f"{i}.png", i % 4
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
        split = "query" if camid < 2 else "gallery"
        rows.append((str(path), 99 if i == 0 else int(pid), camid, split, i, -1))
    for name, pid in (("junk", -1), ("distractor", 0), ("same_camera", 99)):
        rows.append((str(fakes.image(root / f"{name}.png", pid + 5)), pid, 0, "gallery", 0, -1))
    images = pd.DataFrame(rows, columns=["path", "pid", "camid", "split", "frame", "orientation"])
    images.attrs = {"dataset": "table", "root": str(root), "rule": "market1501", "fold": 0}
    return images


def run_of(system: Any, folder: Path) -> Run:
    """A run nobody trained; the weights are random, and the same every time."""
    torch.manual_seed(0)
    network = system(fakes.tiny_backbone(), PEOPLE.targets, system.Options()).eval()
    name = system.name
    tasks = network.asked
    home = folder / "runs" / f"{name}-table-0"
    home.mkdir(parents=True, exist_ok=True)
    return Run(home, recipe(name, **SIZE), network, pd.DataFrame(), (), "loaded", "", tasks)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_of(TwoStage, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def features(run: Run, table: pd.DataFrame) -> tuple[Features, Features]:
    parts = []
    for split in ("query", "gallery"):
        rows = table[table["split"] == split].reset_index(drop=True)
        parts.append(describe(run.network, load(rows, 32, 16, people=()), run.recipe))
    return parts[0], parts[1]


@pytest.fixture
def browser(features: tuple[Features, Features], run: Run, tmp_path: Path) -> Browser:
    return Browser(*features, run=run, figures=tmp_path / "figures")


def shown(browser: Browser) -> list[str]:
    """Captions of the grid, the query's first."""
    return re.findall(r'alt="([^"]*)"', browser.grid.value)


def places(browser: Browser) -> list[int]:
    """Gallery rows of the list."""
    assert browser.result is not None
    ranking = browser.result.ranking
    return ranking.order[0][ranking.keep[0]].tolist()


def upload(browser: Browser, content: bytes, name: str = "me.png") -> None:
    file = {"name": name, "type": "image/png", "size": len(content), "content": memoryview(content)}
    browser.upload.value = ({**file, "last_modified": pd.Timestamp("2026-01-01").to_pydatetime()},)


# --- the list ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("same_camera", [True, False])
def test_every_query_has_the_list_and_the_ap_of_the_library(browser: Browser, metric: str, same_camera: bool) -> None:
    browser.metric.value, browser.same_camera.value = metric, same_camera
    query, gallery = browser.search.query, browser.search.gallery
    rule = "market1501" if same_camera else "none"
    expected = Comparison.of(query, gallery, metric, rule=rule).rank()
    scores = Comparison.of(query, gallery, metric, rule).score()
    for place in range(len(query)):
        browser.query.value = place + 1
        assert browser.result is not None
        np.testing.assert_array_equal(browser.result.ranking.order[0], expected.order[place])
        np.testing.assert_array_equal(browser.result.ranking.distance[0], expected.distance[place])
        np.testing.assert_allclose(browser.result.ap, scores.per_query[place])
        row, ap = query.table.iloc[place], scores.per_query[place]
        text = "no match in the gallery" if np.isnan(ap) else f"AP {ap:.1f}"
        assert f"person {row.pid}, camera {row.camid} · {text}" in browser.status.value
    assert "no match" in "".join(browser.summary() for browser.query.value in [1]) or not same_camera


def test_products_of_a_large_problem_are_those_of_rank(
    features: tuple[Features, Features], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reidkit.distances.EXACT_WORK", 0)
    browser = Browser(*features)
    for metric in ("euclidean", "cosine"):
        browser.metric.value = metric
        expected = Comparison.of(*features, metric).rank()
        for place in range(3):
            browser.query.value = place + 1
            assert browser.result is not None
            np.testing.assert_allclose(browser.result.ranking.distance[0], expected.distance[place], rtol=1e-5)


def test_reranking_is_that_of_all_queries(browser: Browser) -> None:
    query, gallery = browser.search.query, browser.search.gallery
    browser.query.value, browser.k1.value, browser.k2.value, browser.weight.value = 4, 5, 2, 0.5
    before = shown(browser)
    browser.rerank.value = True
    table = rerank(query.descriptor, gallery.descriptor, 5, 2, 0.5).numpy()
    expected = Comparison.of_distances(table, Labels.of(query, gallery)).score().per_query[3]
    assert browser.result is not None and np.isclose(browser.result.ap, expected)
    kept = np.sort(table[3][Labels.of(query, gallery).gallery_pids != -1])
    assert browser.result.ranking.distance[0, 0] >= kept[0] and "re-ranked" in browser.status.value
    assert shown(browser) != before
    browser.k1.value = 3
    other = rerank(query.descriptor, gallery.descriptor, 3, 2, 0.5).numpy()
    assert np.isclose(browser.result.ranking.distance[0, 0], other[3][browser.result.ranking.order[0, 0]])
    browser.rerank.value = False
    assert shown(browser) == before


def test_hardest_first(browser: Browser) -> None:
    browser.order.value = "hardest first"
    aps = []
    for place in range(1, len(browser.search.query) + 1):
        browser.query.value = place
        assert browser.result is not None
        aps.append(browser.result.ap)
    known = [ap for ap in aps if not np.isnan(ap)]
    assert known == sorted(known) and np.isnan(aps[-1]) and len(known) == len(aps) - 1


def test_person_and_camera_narrow_the_queries(browser: Browser) -> None:
    browser.person.value = 3
    assert browser.query.max == 2 and "Query 1 of 2: person 3, camera 0" in browser.status.value
    browser.camera.value = 1
    assert browser.query.max == 1 and "Query 1 of 1: person 3, camera 1" in browser.status.value
    browser.person.value = 99  # never seen by camera 1
    assert "no query fits" in browser.message.value and browser.grid.value == ""
    browser.camera.value = "any"
    assert browser.message.value == "" and "person 99" in browser.status.value


def test_random_draws_among_them(browser: Browser) -> None:
    browser.camera.value = 1
    seen = set()
    for _ in range(60):
        before = browser.query.value
        browser.random.click()
        assert browser.query.value != before
        seen.add(browser.query.value)
        assert "camera 1" in browser.status.value
    assert len(seen) > 3


def test_top_k_frames_and_marks(browser: Browser) -> None:
    browser.query.value, browser.top.value = 3, 5
    assert browser.result is not None
    captions = shown(browser)
    assert len(captions) == 6 and captions[0].startswith("query")
    hits = browser.result.ranking.match[0, :5]
    assert [c.startswith("✓") for c in captions[1:]] == hits.tolist()
    frames = re.findall(r'<button type="button" class="reidkit-(hit|miss)', browser.grid.value)
    assert [frame == "hit" for frame in frames] == hits.tolist()
    gallery = browser.search.gallery.table.iloc[places(browser)[:5]]
    assert [c.split(" ", 2)[2] for c in captions[1:]] == [f"{r.pid}, cam {r.camid}" for r in gallery.itertuples()]
    browser.top.value = 100  # more than there are
    assert len(shown(browser)) == 1 + browser.result.n


def test_threshold_fades_and_counts(browser: Browser) -> None:
    browser.query.value = 3
    assert browser.result is not None
    ranking = browser.result.ranking
    for share in (0.0, 0.3, 0.7, 1.0):
        low, high = browser.threshold.min, browser.threshold.max
        browser.threshold.value = low + share * (high - low)
        near = ranking.keep[0] & (ranking.distance[0] <= browser.threshold.value)
        hits = (near & ranking.match[0]).sum()
        assert browser.grid.value.count(" far") == browser.result.n - near.sum()
        precision = "–" if not near.any() else f"{100 * hits / near.sum():.0f} %"
        expected = f"precision {precision}, recall {100 * hits / browser.result.n_match:.0f} %"
        assert expected in browser.status.value and f"{near.sum()} of {browser.result.n} images" in browser.status.value
    assert f"same person ({browser.result.n_match})" in browser.histogram.value


def test_threshold_starts_at_the_equal_error(browser: Browser) -> None:
    expected = verification.eer(verification.pairs(Comparison.of(browser.search.query, browser.search.gallery)))
    assert browser.threshold.value == pytest.approx(expected.threshold, abs=browser.threshold.step)


# --- attributes and attention ---------------------------------------------------------------------------------------


def test_filters_are_those_of_the_library(browser: Browser, run: Run) -> None:
    query, gallery = browser.search.query, browser.search.gallery
    said = [answers_of(run, part.table).classes for part in (query, gallery)]
    plain = Comparison.of(query, gallery).rank()
    comparison = Comparison.of(query, gallery)
    for h in (0, 1):
        browser.differ.value = h
        aps = []
        for place in range(len(query)):
            browser.query.value = place + 1
            out = (said[0][:, None] != said[1]).sum(2) > h
            expected = leave_out(plain, out)
            assert places(browser) == expected.order[place][expected.keep[place]].tolist()
            assert browser.result is not None
            aps.append(browser.result.ap)
        strict = filtered(comparison, answers=(said[0], said[1]), h=h).mAP
        assert np.nanmean(aps) == pytest.approx(strict)
    browser.differ.value = browser.differ.max  # no limit
    browser.agree.value = ("shirt",)
    browser.query.value = 5
    keep = plain.order[4][plain.keep[4]]
    assert places(browser) == [i for i in keep if said[1][i, 0] == said[0][4, 0]]


def test_overlay_changes_the_pictures_and_nothing_else(browser: Browser) -> None:
    browser.query.value = 3
    before, captions = browser.grid.value, shown(browser)
    pictures = set()
    for task in ("shirt", "bright", MERGED):
        browser.overlay.value = task
        assert shown(browser) == captions and not browser.message.value
        pictures.add(browser.grid.value)
    assert len(pictures | {before}) == 4
    browser.overlay.value = "none"
    assert browser.grid.value == before


def test_a_pair_is_compared(browser: Browser, run: Run) -> None:
    browser.query.value = 3
    assert browser.pair.value == ""
    browser.pick.value = 2
    assert browser.result is not None
    distance = browser.result.ranking.distance[0, 1]
    assert f"distance {distance:.3f}" in browser.pair.value and browser.pair.value.count("<img") == 4
    row = browser.search.gallery.table.iloc[[places(browser)[1]]]
    one, two = (answers_of(run, part).classes[0] for part in (browser.search.query.table.iloc[[2]], row))
    n = int((one != two).sum())
    assert (f"differ in {n} of 2" if n else "no difference in 2 attributes") in browser.pair.value
    browser.query.value = 4
    assert browser.pick.value == 0 and browser.pair.value == ""


def test_a_click_sets_the_number_fields(browser: Browser) -> None:
    """What the onclick of a cell looks for is there."""
    fields = set(re.findall(r"querySelector\('\.reidkit-([a-z-]+) input'\)", browser.grid.value + browser.strip.value))
    assert fields == {"place", "query-number"}
    assert "reidkit-place" in browser.pick._dom_classes and "reidkit-query-number" in browser.jump._dom_classes
    browser.jump.value = 7
    assert browser.query.value == 7 and "Query 7 of" in browser.status.value
    browser.query.value = 5
    assert browser.jump.value == 5


# --- pictures of one's own, wrong input -----------------------------------------------------------------------------


def test_an_upload_asks_the_whole_gallery(browser: Browser) -> None:
    path = browser.search.query.table["path"].iloc[4]
    upload(browser, Path(path).read_bytes(), "holiday.png")
    assert browser.message.value == "" and "holiday.png" in browser.status.value and browser.result is not None
    query, gallery = browser.search.query, browser.search.gallery
    expected = Comparison.of(query, gallery, rule="none").rank()
    assert places(browser) == expected.order[4][expected.keep[4]].tolist()
    np.testing.assert_allclose(browser.result.ranking.distance, expected.distance[[4]], atol=1e-5)
    assert "✓" not in browser.grid.value and "✗" not in browser.grid.value  # nobody said who it is
    for control, value in ((browser.overlay, "shirt"), (browser.differ, 0), (browser.pick, 1), (browser.rerank, True)):
        control.value = value
        assert browser.message.value == "" and "holiday.png" in browser.status.value
    assert browser.figure().axes
    browser.query.value = 2
    assert "Query 2 of" in browser.status.value


def test_a_guest_is_reranked_once(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*given: Any, **named: Any) -> Any:
        calls.append(len(given[0]))
        return rerank(*given, **named)

    monkeypatch.setattr(retrieval, "rerank", counted)
    browser.rerank.value = True
    upload(browser, Path(browser.search.query.table["path"].iloc[4]).read_bytes())
    calls.clear()
    for share in (0.2, 0.4, 0.6):
        browser.threshold.value = browser.threshold.min + share * (browser.threshold.max - browser.threshold.min)
    assert calls == []
    browser.k1.value = 4
    assert calls == [len(browser.search.query), 1]  # the first for the range of the threshold
    assert browser.result is not None
    expected = rerank(browser.asked().query.descriptor, browser.search.gallery.descriptor, 4, 6, 0.3)  # type: ignore[union-attr]
    nearest = browser.result.ranking.order[0, 0]
    assert browser.result.ranking.distance[0, 0] == pytest.approx(float(expected[0, nearest]))


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff\xd8\xff\xe0 half a JPEG"], ids=["empty", "html", "half"])
def test_an_upload_that_is_no_picture(browser: Browser, content: bytes) -> None:
    before = browser.grid.value
    upload(browser, content, "<b>me</b>.jpg")
    assert "&lt;b&gt;me&lt;/b&gt;.jpg is no picture that can be read" in browser.message.value
    assert browser.grid.value == before  # what was there stays
    browser.query.value = 2
    assert browser.message.value == "" and browser.grid.value != before


def test_a_gallery_without_images(features: tuple[Features, Features], run: Run) -> None:
    query, gallery = features
    browser = Browser(query, Features(torch.empty(0, 0), gallery.table.iloc[:0]), run=run)
    for change in (
        lambda: None,
        browser.random.click,
        lambda: upload(browser, Path(query.table["path"][0]).read_bytes()),
    ):
        change()
        assert "the gallery has no images" in browser.message.value and "nothing to show" in browser.status.value
    with pytest.raises(InputError, match="nothing to draw"):
        browser.figure()
    browser.save.click()
    assert "nothing to draw" in browser.message.value


def test_no_queries_but_a_picture_of_ones_own(features: tuple[Features, Features], run: Run) -> None:
    query, gallery = features
    browser = Browser(Features(torch.empty(0, 0), query.table.iloc[:0]), gallery, run=run)
    assert "upload a picture" in browser.message.value
    upload(browser, Path(query.table["path"][4]).read_bytes())
    assert browser.message.value == "" and len(shown(browser)) > 5


def test_a_run_without_attributes(features: tuple[Features, Features], tmp_path: Path, run: Run) -> None:
    plain = run_of(Histogram, tmp_path)
    browser = Browser(*features, run=plain)
    assert browser.overlay.disabled and browser.agree.disabled and browser.differ.disabled
    assert "answers no attributes" in browser.hint.value
    browser.pick.value = 1
    assert "answers no attributes" in browser.pair.value and browser.pair.value.count("<img") == 2
    assert browser.message.value == ""
    reading = Browser(*features, run=plain, reader=run)
    reading.pick.value, reading.differ.value = 1, 0
    assert "attributes" in reading.pair.value and not reading.message.value


def test_a_missing_file_is_a_grey_cross(features: tuple[Features, Features], run: Run) -> None:
    query, gallery = features
    moved = gallery.table.assign(path=[f"/nowhere/{i}.jpg" for i in range(len(gallery))])
    moved.attrs = gallery.table.attrs
    browser = Browser(query, Features(gallery.descriptor, moved), run=run)
    assert not browser.message.value and len(shown(browser)) > 5
    browser.overlay.value = "shirt"
    assert "cannot be read" in browser.message.value and len(shown(browser)) > 5
    browser.pick.value = 1
    assert "cannot be read" in browser.message.value
    browser.overlay.value = "none"
    browser.query.value = 2
    assert not browser.message.value


# --- pictures, files, memory ----------------------------------------------------------------------------------------


def test_thumbnails_are_the_images(table: pd.DataFrame) -> None:
    kind, _, content = view.thumbnail(table["path"][3]).partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert image.format == "JPEG" and image.size == (view.THUMB_WIDTH, view.THUMB_HEIGHT)
        error = np.abs(np.asarray(image).astype(int) - view.picture_or_cross(table["path"][3]).astype(int))
    assert error.mean() < 6
    view.thumbnail.cache_clear()
    assert view.thumbnail(table["path"][3]) and view.thumbnail(table["path"][3])
    assert view.thumbnail.cache_info().misses == 1 and view.thumbnail.cache_info().maxsize == view.KEPT


def test_text_cannot_become_markup() -> None:
    evil = "<script>alert(1)</script>\"'"
    chart = view.chart({evil: (np.ones(2), "#000000")}, np.arange(3.0), {evil: 1.0}, xlabel=evil)
    for html in (view.status(evil), view.note(evil), view.table([[evil]], [evil]), view.cell("", [evil]), chart):
        assert "<script>" not in html and 'alt="<' not in html
    assert view.note("") == ""


def test_overlay_is_between_picture_and_colour() -> None:
    grey = np.full((8, 4, 3), 100, np.uint8)
    heat = np.zeros((8, 4))
    heat[2, 1] = 1
    out = view.overlaid(grey, heat)
    assert out.shape == grey.shape and out.dtype == np.uint8
    assert out[2, 1].astype(int).sum() > out[6, 3].astype(int).sum()  # the highest place is the brightest
    np.testing.assert_array_equal(view.overlaid(grey, np.zeros((8, 4))), np.full((8, 4, 3), 75))


def test_the_view_is_saved(browser: Browser) -> None:
    browser.query.value, browser.top.value, browser.overlay.value = 3, 12, "shirt"
    figure = browser.figure()
    pictures = [axes for axes in figure.axes if axes.images]
    assert len(pictures) == 1 + min(12, browser.result.n if browser.result else 0)
    assert {axes.get_title().split("\n")[0][0] for axes in pictures[1:]} <= {"✓", "✗"}
    browser.save.click()
    first = sorted(path.suffix for path in browser.figures.iterdir())
    assert first == [".pdf", ".png"] and "wrote" in browser.message.value
    browser.top.value = 11
    browser.save.click()
    assert len(list(browser.figures.iterdir())) == 4  # another view does not replace the first


def test_steps_leave_no_widgets_behind(browser: Browser) -> None:
    before = len(_instances)
    for step in range(15):
        browser.query.value = 1 + step % len(browser.search.query)
        browser.pick.value = 1 + step % 3
        browser.top.value = 5 + step % 9
        browser.threshold.value = browser.threshold.min + step % 5
        browser.overlay.value = ("none", "shirt")[step % 2]
    assert len(_instances) == before


def test_browse_opens_a_folder_or_a_run(table: pd.DataFrame, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reidkit.widgets.inputs.load_run", lambda folder: replace(run, folder=Path(folder)))
    for given in (run, run.folder, str(run.folder)):
        browser = reidkit.browse(given, images=table)
        assert len(shown(browser)) > 5 and browser.figures == run.folder.parents[1] / "figures" / run.folder.name
    alone = table[table["split"] == "query"]
    alone.attrs = table.attrs
    assert "the gallery has no images" in widgets.browse(run, images=alone).message.value


def test_descriptors_of_ones_own_need_no_run(features: tuple[Features, Features]) -> None:
    browser = Browser(*features)
    assert browser.upload.disabled and len(shown(browser)) > 5
    browser.pick.value = 1
    assert browser.pair.value.count("<img") == 2


def test_describe_is_what_an_upload_uses(browser: Browser, run: Run) -> None:
    path = browser.search.query.table["path"].iloc[1]
    rows = load(browser.search.query.table.iloc[[1]], 32, 16, people=())
    expected = describe(run.network, rows, run.recipe).descriptor
    torch.testing.assert_close(browser.search.guest(path, "x").descriptor, expected)


# --- the threshold explorer -----------------------------------------------------------------------------------------


def made_pairs(genuine: list[float], impostor: list[float]) -> Pairs:
    """Pairs of these distances, everybody a person of their own."""
    g, i = np.array(sorted(genuine)), np.array(sorted(impostor))
    people = [np.arange(len(x), dtype=np.int32) for x in (g, i)]
    return Pairs(g, i, people[0], people[1], people[1] + 1, len(i))


def lines_of(explorer: widgets.ThresholdExplorer) -> list[str]:
    """The thresholds in the legend of the printed figure."""
    legend = explorer.figure().axes[0].get_legend()
    assert legend is not None
    names = [text.get_text().split(":")[0] for text in legend.get_texts()]
    return [name for name in names if "pairs" not in name]


def test_prices_move_the_threshold(tmp_path: Path, rng: np.random.Generator) -> None:
    own = made_pairs(rng.normal(1, 0.3, 200).tolist(), rng.normal(1.6, 0.4, 400).tolist())
    explorer = widgets.ThresholdExplorer(own, figures=tmp_path)
    start = explorer.threshold.value
    assert start == pytest.approx(verification.cheapest(own, 1, 1, 0.5))
    far, frr = verification.rates_at(own, start)
    assert f"FAR {100 * far:.2f} %, FRR {100 * frr:.2f} %" in explorer.status.value
    explorer.reject.value = 50
    assert explorer.threshold.value > start
    explorer.reject.value, explorer.accept.value = 1, 50
    assert explorer.threshold.value < start
    chart = explorer.chart.value
    explorer.threshold.value = 1.3
    assert explorer.chart.value != chart and "Threshold 1.300" in explorer.status.value
    assert explorer.accept.value == 50  # a hand on the threshold leaves the prices alone
    explorer.take.click()
    assert explorer.threshold.value == pytest.approx(explorer.best)
    explorer.prior.value = 0.01
    assert "100" in explorer.rates.value and len(explorer.figure().axes) == 2
    assert lines_of(explorer) == ["cheapest"]  # one line where both are the same, not a hidden one
    explorer.threshold.value = 1.3
    assert lines_of(explorer) == ["threshold", "cheapest"]
    explorer.save.click()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".pdf", ".png"]


def test_explorer_of_a_run(table: pd.DataFrame, features: tuple[Features, Features], run: Run, tmp_path: Path) -> None:
    explorer = widgets.explore_threshold(run, images=table)
    expected = verification.pairs(Comparison.of(*features, run.recipe.metric))
    assert explorer.pairs is not None
    np.testing.assert_allclose(explorer.pairs.genuine, expected.genuine)
    assert widgets.explore_threshold(expected).pairs is expected
    without = widgets.explore_threshold(run_of(Histogram, tmp_path), images=table)  # a run without attributes
    assert not without.message.value and "FAR" in without.status.value
    alone = table[table["split"] == "query"]
    alone.attrs = table.attrs
    empty = widgets.explore_threshold(run, images=alone)
    assert 'role="alert"' in empty.message.value
    empty.accept.value = 3
    empty.save.click()
    assert "nothing to draw" in empty.message.value


# --- the attention browser ------------------------------------------------------------------------------------------


def test_every_attribute_has_its_map(table: pd.DataFrame, run: Run, tmp_path: Path) -> None:
    browser = widgets.AttentionBrowser(run, table[table["split"] == "query"], figures=tmp_path)
    assert len(browser.pictures) == 1 + 2 + 1 and "Image 1 of" in browser.status.value
    said = answers_of(run, table[table["split"] == "query"].iloc[[3]])
    browser.image.value = 4
    for k, (task, odds) in enumerate(zip(run.tasks, said.probability, strict=True)):
        answer = task.classes[int(odds[0].argmax())]
        assert browser.captions[k].startswith(f"{task.name}: {answer}\n{100 * float(odds[0].max()):.0f} % sure")
    pixels = pixels_of([table[table["split"] == "query"]["path"].iloc[3]], run)
    for method in ("cam", "gradcam", "layercam"):
        browser.method.value = method
        heat = attribute_maps(run.network, pixels, "shirt", method)[0].numpy()
        np.testing.assert_allclose(browser.pictures[1].astype(int), view.overlaid(browser.pictures[0], heat), atol=1)
    for _ in range(20):
        before = browser.image.value, browser.grid.value
        browser.random.click()
        assert browser.image.value != before[0] and browser.grid.value != before[1] and not browser.message.value
    assert len([axes for axes in browser.figure().axes if axes.images]) == 4
    browser.save.click()
    assert len(list(tmp_path.iterdir())) == 2


def test_maps_are_scored_on_parts(table: pd.DataFrame, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(attention_map.PART_OF, "shirt", "upper")
    masks = torch.zeros(1, 32, 16, dtype=torch.uint8)
    masks[:, 4:18, 3:13] = attention_map.PARTS["upper"]
    monkeypatch.setattr(attention_map.attention, "part_masks", lambda *_: masks)
    browser = widgets.AttentionBrowser(run, table)
    heat = attribute_maps(run.network, pixels_of([table["path"].iloc[0]], run), "shirt", "cam")
    inside = masks == attention_map.PARTS["upper"]
    share, top = float((heat * inside).sum() / heat.sum()), bool(inside.flatten()[heat.argmax()])
    assert f"{100 * share:.0f} % on upper\n{'✓' if top else '✗'} top there" in browser.captions[0]
    assert "no part of its own" in browser.captions[1] and "1 attributes have a visible part" in browser.status.value
    masks.zero_()
    browser.image.value = 2
    assert "not visible" in browser.captions[0]


def test_nothing_to_look_at(table: pd.DataFrame, run: Run, tmp_path: Path) -> None:
    plain = widgets.AttentionBrowser(run_of(Histogram, tmp_path), table)
    assert "answers no attributes" in plain.message.value
    plain.save.click()
    assert "nothing to draw" in plain.message.value
    assert "no images" in widgets.AttentionBrowser(run, table.iloc[:0]).message.value
    gone = widgets.AttentionBrowser(run, table.assign(path=["/nowhere.jpg", *table["path"].iloc[1:]]))
    assert "cannot be read" in gone.message.value and gone.grid.value == "" and "nothing to show" in gone.status.value
    gone.image.value = 2
    assert gone.message.value == "" and len(gone.pictures) == 4


def test_look_shows_the_queries(table: pd.DataFrame, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "images_of", lambda _: table)
    browser = widgets.look(run)
    assert browser.image.max == (table["split"] == "query").sum()


# --- search by words ------------------------------------------------------------------------------------------------


@pytest.fixture
def asking(table: pd.DataFrame, run: Run) -> widgets.AttributeSearch:
    people = pd.DataFrame({"shirt": [0, 1], "bright": [1, -1]}, index=pd.Index([2, 3], name="pid"))
    known = Attributes(Schema("table", fakes.CLOTHES), people, pd.Series("test", people.index))
    return widgets.ask(run, images=table, attributes=known)


def test_words_rank_the_gallery(asking: widgets.AttributeSearch, tmp_path: Path) -> None:
    assert asking.grid.value == "" and "say what" in asking.status.value
    asking.save.click()
    assert "nothing to draw" in asking.message.value
    asking.wanted["shirt"].value = "green"
    asking.wanted["bright"].value = "yes"
    assert asking.answers is not None and (asking.answers.table["pid"] >= 0).all()
    p = [odds.double().numpy() for odds in asking.answers.probability]
    expected = p[0][:, 1] * p[1][:, 1]
    np.testing.assert_allclose(asking.chance, expected, rtol=1e-5)
    assert asking.order.tolist() == np.argsort(-expected, kind="stable")[:20].tolist()
    pids = asking.answers.table["pid"].iloc[asking.order]
    assert [title[0] for title in asking.titles if title[0] in "✓✗"] == ["✗"] * int(pids.isin([2]).sum())
    asking.wanted["bright"].value = "any"
    marks = {pid: title[0] for pid, title in zip(pids, asking.titles, strict=True) if title[0] in "✓✗"}
    asking.top.value = 3
    assert asking.grid.value.count("<img") == 3 and marks
    asking.figures = tmp_path
    asking.save.click()
    assert (tmp_path / "words_shirt-green.png").exists()
    asking.clear.click()
    assert asking.grid.value == "" and asking.asked == {}


def test_marks_are_the_annotations(asking: widgets.AttributeSearch) -> None:
    asking.wanted["shirt"].value = "green"
    assert asking.answers is not None
    for i, title in zip(asking.order, asking.titles, strict=True):
        pid = asking.answers.table["pid"].iloc[i]
        assert title.startswith({2: "✗ ", 3: "✓ "}.get(pid, f"{asking.chance[i]:.2f}"))
    assert "50.0 % do" in asking.status.value


def test_temperatures_change_how_sure_it_is(table: pd.DataFrame, run: Run) -> None:
    plain, flat = (widgets.ask(run, images=table, scale=scale) for scale in (None, np.array([50.0, 50.0])))
    for each in (plain, flat):
        each.wanted["shirt"].value = "red"
    assert np.ptp(flat.chance) < np.ptp(plain.chance) and flat.chance.mean() == pytest.approx(1 / 3, abs=0.02)


def test_words_without_a_reader_or_a_gallery(table: pd.DataFrame, run: Run, tmp_path: Path) -> None:
    plain = widgets.ask(run_of(Histogram, tmp_path), images=table)
    assert "answers no attributes" in plain.message.value
    plain.top.value = 3
    assert "answers no attributes" in plain.message.value
    alone = table[table["split"] == "query"]
    alone.attrs = table.attrs
    assert "table of images is empty" in widgets.ask(run, images=alone).message.value
    gone = table.assign(path="/nowhere.jpg")
    gone.attrs = table.attrs
    lost = widgets.ask(run, images=gone)
    assert "cannot be read" in lost.message.value
    lost.save.click()
    assert "nothing to draw" in lost.message.value


def test_a_gallery_is_read_once(
    browser: Browser, table: pd.DataFrame, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.differ.value = 0
    before = places(browser)
    first = widgets.ask(run, images=table)
    asked: list[int] = []
    monkeypatch.setattr("reidkit.features.load", lambda rows, *a, **b: asked.append(len(rows)) or load(rows, *a, **b))
    again = Browser(browser.search.query, browser.search.gallery, run=run)
    again.differ.value = 0
    assert places(again) == before and set(asked) == {1}  # the query alone
    asked.clear()
    second = widgets.ask(run, images=table)
    assert asked == [] and first.answers is not None and second.answers is not None
    assert second.answers.table.equals(first.answers.table)
    for one, other in zip(first.answers.probability, second.answers.probability, strict=True):
        assert torch.equal(one, other)


# --- the loss playground ----------------------------------------------------------------------------------------------


def weigh(playground: widgets.Playground, **weights: float) -> None:
    """These weights, and 0 for the other losses."""
    for name, slider in playground.weights.items():
        slider.value = weights.get(name, 0.0)


def test_points_follow_their_gradient() -> None:
    """Ten steps of plain descent beside the formulas of the losses, written out."""
    points, label = loss_playground.four_people(3)
    playground = widgets.play(points, label)
    weigh(playground, compact=0.5, scatter=0.02)
    playground.optimiser.value, playground.rate.value = "gradient descent", 0.5
    x = points.double()
    for step in range(1, 11):
        centre = torch.stack([x[label == p].mean(0) for p in range(4)])
        gap = (centre[:, None] - centre[None]).norm(dim=2)
        radius = gap.fill_diagonal_(torch.inf).amin(1) / 2
        own = x - centre[label]
        compact = own * (own.norm(dim=1) > radius[label])[:, None]
        scatter = sum((x - centre[j]) * (label != j)[:, None] for j in range(4))
        x = x - 0.5 * (0.5 * compact - 0.02 * scatter) / 32
        if step in (1, 10):
            playground.move(1 if step == 1 else 9)
            torch.testing.assert_close(playground.plane.path[-1].double(), x, atol=1e-5, rtol=1e-4)
    assert f"Step {len(playground.plane.path) - 1} ·" in playground.status.value and len(playground.plane.path) == 11
    torch.testing.assert_close(playground.plane.path[0], points)


def test_the_pull_is_the_way_of_a_step() -> None:
    playground = widgets.play()
    weigh(playground, softmax=1.0, triplet=0.5)
    for triplet in loss_playground.TRIPLETS:
        playground.triplet.value = triplet
        playground.optimiser.value = "gradient descent"
        pull = playground.plane.pull(*playground.given)
        before = playground.plane.path[-1]
        playground.one.click()
        moved = playground.plane.path[-1] - before
        torch.testing.assert_close(moved, pull * playground.rate.value / 32, atol=1e-6, rtol=1e-4)


def test_what_is_said_of_points() -> None:
    """Two people on a line, as in lesson 04, and the shares by a slow count."""
    points = torch.tensor([[0.0, 0], [2, 0], [3, 0], [13, 0]])
    found = loss_playground.Plane(points, torch.tensor([0, 0, 1, 1]))
    assert found.inside() == 50  # centres 1 and 8, both radii 3.5: the last two are 5 away
    assert found.rank1() == 50  # 2 is nearest to 3, and 3 to 2
    assert found.sizes == [(4.5, 3.0, 3.5)]
    terms = {name: loss.item() for name, loss in found.terms("hardest, margin 0.3").items()}
    assert terms["compact"] == pytest.approx(2 * (25 - 3.5**2) / 2 / 4)
    assert terms["scatter"] == pytest.approx((64 + 36 + 4 + 144) / 2 / 4)
    assert terms["triplet"] == pytest.approx((0 + (0.3 + 2 - 1) + (0.3 + 10 - 1) + 0) / 4)


def test_a_hand_on_the_weights_shows_at_once() -> None:
    playground = widgets.play()
    drawn, told = {playground.picture.value}, {playground.numbers.value}
    for slider in playground.weights.values():
        slider.value = slider.max
        drawn.add(playground.picture.value)
        told.add(playground.numbers.value)
    assert len(drawn) == 4 and len(told) == 5  # twice the softmax alone pulls no other way
    assert "-0.1 ×" in playground.numbers.value and "Step 0 ·" in playground.status.value
    assert playground.picture.value.count("stroke-dasharray") == 4
    playground.weights["softmax"].value = 0
    assert "stroke-dasharray" not in playground.picture.value  # the classifier has no say any more


def test_steps_show_every_fifth_and_can_be_undone() -> None:
    playground = widgets.play()
    first, frames = playground.picture.value, []
    playground.picture.observe(lambda change: frames.append(change["new"]), "value")
    models = len(_instances)
    playground.many.click()
    assert len(frames) >= 10 and "Step 50 ·" in playground.status.value
    playground.again.click()
    assert playground.picture.value == first and "Step 0 ·" in playground.status.value and len(_instances) == models


def test_points_that_nothing_holds_or_pulls() -> None:
    playground = widgets.play()
    weigh(playground)
    before = playground.picture.value
    playground.one.click()
    assert "all weights are 0" in playground.message.value and playground.picture.value == before
    weigh(playground, scatter=0.1)
    playground.optimiser.value, playground.rate.value = "gradient descent", 2.0
    while not playground.message.value:
        playground.many.click()
    assert "scatter, which has no bottom" in playground.message.value
    assert playground.plane.points.isfinite().all()  # the last step that could be drawn
    assert torch.equal(playground.plane.points.detach(), playground.plane.path[-1])
    playground.again.click()
    assert not playground.message.value and "Step 0 ·" in playground.status.value


def test_the_playground_has_a_figure(tmp_path: Path) -> None:
    playground = widgets.Playground(*loss_playground.four_people(), figures=tmp_path)
    playground.many.click()
    left, right = playground.figure().axes
    assert left.get_title("left") == "step 50: +1 softmax" and len(left.patches) == 4
    assert {len(line.get_xdata()) for line in right.lines} == {51} and right.get_xlabel() == "step"
    playground.save.click()
    assert (
        sorted(path.suffix for path in tmp_path.iterdir()) == [".pdf", ".png"] and "wrote" in playground.message.value
    )


@pytest.mark.parametrize(
    ("points", "label", "message"),
    [
        (torch.zeros(4, 3), torch.tensor([0, 0, 1, 1]), "lie in no plane"),
        (torch.zeros(4, 2), torch.tensor([0, 0, 1]), "lie in no plane"),
        (torch.zeros(4, 2), torch.tensor([0, 0, 0, 0]), "number two to 8 people"),
        (torch.zeros(4, 2), torch.tensor([0, 0, 2, 2]), "without a gap"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), "number two to 8 people"),
    ],
)
def test_points_that_cannot_be_shown(points: torch.Tensor, label: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        widgets.play(points, label)


def test_equal_points_are_no_division_by_nothing() -> None:
    playground = widgets.play(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]))
    playground.many.click()
    assert not playground.message.value and "nan" not in playground.picture.value + playground.numbers.value


@pytest.mark.parametrize(("value", "axis"), [(0.9, 1), (1.0, 1), (1.01, 1.5), (6, 7), (8, 10), (11, 15), (0.02, 0.02)])
def test_axes_end_at_round_numbers(value: float, axis: float) -> None:
    assert loss_playground._round(value) == pytest.approx(axis)


# --- a page -----------------------------------------------------------------------------------------------------------


def test_a_page_is_a_notebook_with_a_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "find_spec", lambda _: object())
    monkeypatch.setenv("JUPYTER_PATH", "elsewhere")
    command, variables = page.page(tmp_path, "a title", ["x = 1", "x"])
    book = nbformat.read(next(Path(word) for word in command if word.endswith(".ipynb")), as_version=4)
    assert [cell.source for cell in book.cells] == ["x = 1", "x"] and book.metadata["title"] == "a title"
    assert variables == {"JUPYTER_PATH": f"{tmp_path}{os.pathsep}elsewhere"}
    assert (tmp_path / "voila" / "templates" / "reidkit" / "index.html.j2").exists()
    monkeypatch.setattr(page, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[voila\]'"):
        page.page(tmp_path, "a title", ["x"])
