"""The synthetic pedestrians: statistics, layout, pixels, resumption."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
from PIL import Image

from reidkit import synthetic
from reidkit.errors import InputError
from reidkit.synthetic.captures import CROWD_POWER, FOLDERS
from reidkit.synthetic.population import DOWN_COLOURS, FIELDS, UP_COLOURS
from reidkit.synthetic.scene import DRAWN, camera, place
from reidkit.synthetic.write import REVISION, part_path

# Percent of the identities of Market-1501 with each attribute (value 2; ages apart), training and test half.
REAL = {
    "train": {
        "backpack": 26.5, "bag": 24.6, "handbag": 11.5, "downblack": 39.0, "downblue": 16.4, "downbrown": 9.2,
        "downgray": 16.4, "downgreen": 1.9, "downpink": 3.9, "downpurple": 0.3, "downwhite": 7.7, "downyellow": 1.3,
        "upblack": 15.0, "upblue": 6.1, "upgreen": 7.5, "upgray": 11.5, "uppurple": 4.0, "upred": 10.4,
        "upwhite": 30.4, "upyellow": 4.8, "clothes": 85.4, "down": 60.9, "up": 94.8, "hair": 32.6, "hat": 2.7,
        "gender": 42.6, "age": (1.9, 75.8, 21.3, 1.1), "no upper colour": 10.4, "no lower colour": 4.0,
    },
    "test": {
        "backpack": 24.9, "bag": 24.7, "handbag": 10.1, "clothes": 88.7, "down": 65.1, "up": 94.0, "hair": 36.7,
        "hat": 3.1, "gender": 44.8, "upblack": 14.5, "upwhite": 27.7, "upred": 10.1, "uppurple": 3.2,
        "upyellow": 8.1, "upgray": 14.1, "upblue": 6.9, "upgreen": 6.0, "downblack": 38.3, "downwhite": 6.7,
        "downpink": 2.7, "downpurple": 0.0, "downyellow": 0.1, "downgray": 16.8, "downblue": 20.5, "downgreen": 2.7,
        "downbrown": 6.4, "age": (0.3, 85.3, 13.7, 0.7), "no upper colour": 9.2, "no lower colour": 5.9,
    },
}  # fmt: skip
SMALL = synthetic.Size(4, 4, 24, 12, 30, 6, 4)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("synthetic") / "smoke", "smoke", progress=False)


@pytest.fixture
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(synthetic.SIZES, "smoke", SMALL)


def _percent(people: pd.DataFrame) -> dict[str, float | tuple[float, ...]]:
    found: dict[str, float | tuple[float, ...]] = {
        f: 100 * float((people[f] == 2).mean()) for f in FIELDS["train"] if f != "age"
    }
    found["age"] = tuple(100 * float((people["age"] == k).mean()) for k in (1, 2, 3, 4))
    found["no upper colour"] = 100 * float((people[list(UP_COLOURS)] == 1).all(axis=1).mean())
    found["no lower colour"] = 100 * float((people[list(DOWN_COLOURS)] == 1).all(axis=1).mean())
    return found


@pytest.mark.parametrize(("split", "n"), [("train", 751), ("test", 750)])
@pytest.mark.parametrize("seed", [0, 5])
def test_marginals_of_full_are_within_two_points(split: str, n: int, seed: int) -> None:
    found = _percent(synthetic.population(n, seed, split))  # type: ignore[arg-type]
    assert found.keys() == REAL[split].keys()
    for name, share in REAL[split].items():
        assert found[name] == pytest.approx(share, abs=2.0), name


def test_co_occurrences_follow_the_real_ones() -> None:
    people = synthetic.population(751, 1)
    man, woman = people["gender"] == 1, people["gender"] == 2
    assert (people.loc[man, "clothes"] == 2).all()  # dresses and skirts: women only
    assert 100 * (people.loc[woman, "clothes"] == 1).mean() == pytest.approx(34.4, abs=3)
    assert 100 * (people.loc[woman, "hair"] == 2).mean() == pytest.approx(75.0, abs=3)
    assert 100 * (people.loc[man, "hair"] == 2).mean() == pytest.approx(1.2, abs=1)
    assert 100 * (people.loc[woman, "bag"] == 2).mean() == pytest.approx(38.1, abs=3)
    assert 100 * (people.loc[man, "bag"] == 2).mean() == pytest.approx(14.6, abs=3)
    assert ((people[["backpack", "bag", "handbag"]] == 2).sum(axis=1) <= 1).all()
    for colours in (UP_COLOURS, DOWN_COLOURS):
        assert ((people[list(colours)] == 2).sum(axis=1) <= 1).all()


def test_small_populations_keep_rare_classes() -> None:
    people = synthetic.population(200, 3)
    assert set(people["age"]) == {1, 2, 3, 4}
    for name in (*FIELDS["train"][1:],):
        assert (people[name] == 2).any(), name


@pytest.mark.parametrize("name", list(synthetic.SIZES))
def test_plan_has_the_counts_it_promises(name: str) -> None:
    size = synthetic.SIZES[name]
    people, captures = synthetic.plan(size, 0)
    assert captures["split"].value_counts().to_dict() == {
        "train": size.train,
        "query": size.query,
        "gallery": size.gallery,
    }
    assert (captures["pid"] == -1).sum() == size.junk
    assert (captures["pid"] == 0).sum() == size.distractors
    assert captures["path"].is_unique
    train, query = captures[captures["split"] == "train"], captures[captures["split"] == "query"]
    gallery = captures[(captures["split"] == "gallery") & (captures["pid"] > 0)]
    assert train["pid"].nunique() == size.train_ids
    assert query["pid"].nunique() == gallery["pid"].nunique() == size.test_ids
    assert not set(train["pid"]) & set(query["pid"])
    assert not query.duplicated(["pid", "camera"]).any()
    cameras = gallery.groupby("pid")["camera"].agg(set)
    assert all(cameras[pid] - {camera} for pid, camera in zip(query["pid"], query["camera"], strict=True))
    assert (people["pid"] > 0).sum() == size.train_ids + size.test_ids
    if name == "full":
        assert (size.train_ids, size.test_ids) == (751, 750)
        assert (size.train, size.query, size.gallery) == (12936, 3368, 19732)


def test_a_crowd_shares_nobody_and_no_place_with_the_benchmarks() -> None:
    size = synthetic.Size(40, 6, 130, 12, 24, 0, 0, crowd=True)
    people, captures = synthetic.plan(size, 0)
    assert captures["camera"].between(6, 5 + DRAWN).all() and captures["camera"].nunique() > DRAWN // 2
    seen = captures[captures["split"] == "train"].groupby("person")["camera"].agg(["nunique", "size"])
    assert (seen["nunique"] == seen["size"]).all() and set(seen["size"]) == {3, 4}  # each image from another camera
    for seed in range(3):
        others = synthetic.plan(synthetic.Size(40, 6, 130, 12, 24, 0, 0), seed)[0]
        cues = [name for name in people if name not in ("pid", "split")]
        assert not len(people[cues].merge(others[cues]))
    images, parts = synthetic.render(people, captures.iloc[:6], 64, 32, device="cpu")
    assert images.float().std() > 20 and (parts > 0).float().mean((1, 2)).min() > 0.05


def test_drawn_cameras_have_places_of_their_own() -> None:
    walls = [place(number)[0] for number in (0, 6, 7, 5 + DRAWN)]
    for i, wall in enumerate(walls):
        assert wall.shape == walls[0].shape and wall.min() >= 0 and wall.max() <= 1
        assert all(np.abs(wall - other).mean() > 0.02 for other in walls[:i])
    assert np.array_equal(place.__wrapped__(7)[0], walls[2])  # painted again
    assert camera(0) is synthetic.CAMERAS[0] and len({camera(6 + k).name for k in range(DRAWN)}) == DRAWN


def test_a_crowd_has_more_of_what_is_rare() -> None:
    real, crowd = (synthetic.population(751, 0, "train", power) for power in (1.0, CROWD_POWER))
    for name in ("hat", "handbag"):
        assert (crowd[name] == 2).mean() > 1.5 * (real[name] == 2).mean()
    assert (crowd.loc[crowd["gender"] == 1, "clothes"] == 2).all()  # what nobody wears stays so


def test_layout_on_disk(written: Path) -> None:
    size, table = synthetic.SIZES["smoke"], pd.read_csv(written / "synthetic.csv")
    expected = {"bounding_box_train": size.train, "query": size.query, "bounding_box_test": size.gallery}
    for folder, count in expected.items():
        names = sorted(p.name for p in (written / folder).iterdir())
        assert len(names) == count
        assert all(re.fullmatch(r"(-1|\d{4})_c[1-6]s[1-6]_\d{6}_\d{2}\.jpg", n) for n in names)
        assert sorted(p.stem for p in (written / "parts" / folder).iterdir()) == [n[:-4] for n in names]
    assert len(table) == size.images
    assert {"path", "pid", "camid", "split", "frame", "orientation", "angle", "gait", "occlusion", "box_error",
            "camera"} <= set(table.columns)  # fmt: skip
    row = table.iloc[7]
    with Image.open(written / row["path"]) as image, Image.open(written / part_path(row["path"])) as parts:
        assert image.size == parts.size == (64, 128)
        assert parts.mode == "L"
        assert np.asarray(parts).max() < len(synthetic.PARTS)
    assert table["orientation"].isin(range(8)).all()
    assert table["occlusion"].between(0, 1).all()
    assert table["box_error"].between(0, 1).all()
    assert (table.loc[table["pid"] == -1, "box_error"] > 0.45).all()
    assert table.loc[table["pid"] > 0, "box_error"].median() < 0.2
    card = json.loads((written / "card.json").read_text())
    assert card["licence"] == "CC0-1.0"
    assert card["recipe"]["seed"] == 0
    assert "CC0" in (written / "README.md").read_text()
    assert not list(written.parent.glob(".*"))


def test_annotation_has_the_real_format(written: Path) -> None:
    assert scipy.io.whosmat(str(written / "market_attribute.mat")) == [("market_attribute", (1, 1), "struct")]
    struct = scipy.io.loadmat(str(written / "market_attribute.mat"))["market_attribute"]
    table = pd.read_csv(written / "synthetic.csv")
    for split, folder in (("train", "bounding_box_train"), ("test", "query")):
        half = struct[split][0, 0]
        assert set(half.dtype.names) == {*FIELDS["train"], "image_index"}
        index = half["image_index"][0, 0]
        names = [str(cell[0]) for cell in index[0]]
        pids = set(table.loc[table["path"].str.startswith(folder), "pid"])
        assert {int(n) for n in names} == pids
        assert all(len(n) == 4 for n in names)
        for field in FIELDS[split]:
            values = half[field][0, 0]
            assert values.dtype == np.uint8
            assert values.shape == index.shape == (1, len(names))
            assert set(np.unique(values)) <= ({1, 2, 3, 4} if field == "age" else {1, 2})


def test_pixels_do_not_depend_on_the_batch() -> None:
    people, captures = synthetic.plan(synthetic.SIZES["smoke"], 4)
    chosen = captures.sample(64, random_state=0)
    images, parts = synthetic.render(people, chosen, device="cpu", batch=64)
    again, parts_again = synthetic.render(people, chosen, device="cpu", batch=64)
    single = [synthetic.render(people, chosen.iloc[[i]], device="cpu", batch=1) for i in range(0, 64, 3)]
    assert images.shape == (64, 3, 128, 64)
    assert images.dtype == parts.dtype == torch.uint8
    assert torch.equal(images, again)
    assert torch.equal(parts, parts_again)
    assert torch.equal(images[::3], torch.cat([s[0] for s in single]))
    assert torch.equal(parts[::3], torch.cat([s[1] for s in single]))


def test_pixels_are_those_of_the_revision() -> None:
    """Whoever has a set of this revision has these pixels; where they must change, REVISION rises with the hash."""
    people, captures = synthetic.plan(synthetic.SIZES["smoke"], 1)
    shown = captures.iloc[::10]
    assert set(shown["kind"]) == {"person", "junk", "distractor"}
    assert set(shown["thing"]) > {"cart", "plant"}
    drawn = synthetic.render(people, shown, 64, 32, device="cpu")
    pixels = hashlib.sha256(b"".join(x.numpy().tobytes() for x in drawn)).hexdigest()
    assert (REVISION, pixels) == (2, "f954623a6572a3349ffd4e6adff7d2dc445114f24cdb13d6d830c8d2c4c44388")


def test_same_seed_same_files(written: Path, tmp_path: Path) -> None:
    again = synthetic.write(tmp_path / "again", "smoke", progress=False)
    files = sorted(p.relative_to(written) for p in written.rglob("*.*") if p.suffix in {".jpg", ".png", ".csv"})
    assert len(files) > 2 * synthetic.SIZES["smoke"].images
    assert all((written / f).read_bytes() == (again / f).read_bytes() for f in files)


def test_seeds_differ() -> None:
    (people, captures), (others, other_captures) = (synthetic.plan(SMALL, seed) for seed in (0, 1))
    a = synthetic.render(people, captures.iloc[:4], device="cpu")[0]
    b = synthetic.render(others, other_captures.iloc[:4], device="cpu")[0]
    assert not torch.equal(a, b)


def _clean(n: int, **columns: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    """n people seen from the front by the first camera, unobstructed, in true boxes, with chosen cues."""
    people, captures = synthetic.plan(synthetic.Size(max(n, 4), 4, 64, 12, 20, 0, 0), 2)
    people, captures = people.iloc[:n].copy(), captures.iloc[:n].copy()
    people["up_pattern"], people["down_pattern"] = "plain", "plain"
    for field in ("backpack", "bag", "handbag", "hat"):
        people[field] = 1
    for name, value in columns.items():
        people[name] = value
    captures["person"] = np.arange(n)
    captures["camera"], captures["other"], captures["thing"], captures["empty"] = 0, -1, "", False
    captures["angle"], captures["dx"], captures["dy"], captures["zoom"], captures["stretch"] = 10.0, 0.0, 0.0, 1.05, 1.0
    return people, captures


@pytest.mark.parametrize(
    ("part", "columns"),
    [
        ("upper", {"up_0": "#d01010", "sleeve_tone": "#d01010"}),
        ("lower", {"down_0": "#1030c8", "clothes": 2, "has_socks": False, "tucked": False, "socks": ""}),
        ("hat", {"hat": 2, "hat_colour": "#20a030"}),
        ("bag", {"bag": 2, "bag_colour": "#c020c0", "bag_second": "#c020c0"}),
        ("handbag", {"handbag": 2, "bag_colour": "#e0c010", "bag_second": "#e0c010"}),
        ("backpack", {"backpack": 2, "bag_colour": "#10b0b0", "bag_second": "#10b0b0", "angle": 180}),
        ("shoes", {"shoe_colour": "#d01010", "sole_colour": "#d01010", "shoe_style": "sneaker"}),
    ],
)
def test_part_maps_lie_where_the_colour_is(part: str, columns: dict[str, object]) -> None:
    people, captures = _clean(12, **columns)
    captures["angle"] = float(columns.get("angle", 10.0))  # type: ignore[arg-type]
    images, parts = synthetic.render(people, captures, device="cpu")
    plain_people, _ = _clean(12, **{k: "#808080" if str(v).startswith("#") else v for k, v in columns.items()})
    plain, same_parts = synthetic.render(plain_people, captures, device="cpu")
    assert torch.equal(parts, same_parts)  # colours do not move anything
    changed = ((images.int() - plain.int()).abs().amax(dim=1) > 30).numpy()
    labelled = (parts == synthetic.PARTS[part]).numpy()
    assert labelled.any(axis=(1, 2)).all()  # each of them shows it
    near = np.zeros_like(labelled)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            near |= np.roll(labelled, (dy, dx), axis=(1, 2))
    assert changed[~near].sum() <= 0.02 * changed.sum()
    assert changed[labelled].mean() > 0.6


def test_things_carried_show_only_where_marked() -> None:
    for part in ("hat", "backpack", "bag", "handbag"):
        people, captures = _clean(12)
        assert not (synthetic.render(people, captures, device="cpu")[1] == synthetic.PARTS[part]).any()


def test_other_resolutions_show_the_same_scene() -> None:
    people, captures = _clean(6)
    small, parts = synthetic.render(people, captures, device="cpu")
    large, large_parts = synthetic.render(people, captures, 256, 128, device="cpu")
    assert large.shape == (6, 3, 256, 128)
    assert (large_parts[:, ::2, ::2] == parts).float().mean() > 0.93
    pooled = torch.nn.functional.avg_pool2d(large.float(), 2)
    assert (pooled - small.float()).abs().mean() < 12


@pytest.mark.usefixtures("small_sets")
def test_finished_set_is_returned_and_another_refused(tmp_path: Path) -> None:
    out = synthetic.write(tmp_path / "set", "smoke", progress=False)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert synthetic.write(out, "smoke", progress=False) == out
    with pytest.raises(InputError, match="seed 0"):
        synthetic.write(out, "smoke", seed=1, progress=False)
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*")}


@pytest.mark.usefixtures("small_sets")
def test_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a synthetic set"):
        synthetic.write(tmp_path / "mine", "smoke", progress=False)
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


@pytest.mark.parametrize("wrong", [{"size": "huge"}, {"seed": -1}, {"height": 2}])
def test_wrong_arguments_leave_nothing_behind(wrong: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        synthetic.write(tmp_path / "set", **{"size": "smoke", "progress": False, **wrong})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_killed_run_goes_on_where_it_was(written: Path, tmp_path: Path) -> None:
    out, partial = tmp_path / "set", tmp_path / ".set.partial"
    code = f"from reidkit import synthetic; synthetic.write({str(out)!r}, 'smoke', progress=False)"
    run = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while len(list(partial.glob("*/*.jpg"))) < 40 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not out.exists()
    kept = {p: p.stat().st_mtime_ns for f in FOLDERS.values() for p in (partial / f).glob("[!.]*.jpg")}
    assert len(kept) >= 40
    with pytest.raises(InputError, match="unfinished set of another recipe"):
        synthetic.write(out, "smoke", seed=9, progress=False)
    synthetic.write(out, "smoke", progress=False)
    assert all((out / p.relative_to(partial)).stat().st_mtime_ns == t for p, t in kept.items())
    assert not partial.exists()
    for name in ("synthetic.csv", "README.md", "card.json"):
        assert (out / name).read_bytes() == (written / name).read_bytes()
    files = sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(written) for p in written.rglob("*") if p.is_file())


def test_sheet_shows_people_and_parts(tmp_path: Path) -> None:
    picture = synthetic.sheet(tmp_path / "sheet.png", people=2)
    assert (tmp_path / "sheet.png").exists()
    assert picture.width > 12 * 64
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 1000


@pytest.mark.gpu
def test_cuda_draws_the_same_pixels() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    people, captures = synthetic.plan(synthetic.SIZES["smoke"], 0)
    here, parts = synthetic.render(people, captures.iloc[:64], device="cpu")
    there, parts_there = synthetic.render(people, captures.iloc[:64], device="cuda")
    assert (here != there.cpu()).float().mean() < 1e-3
    assert (parts != parts_there.cpu()).float().mean() < 1e-3
