"""Attributes: the published files as they are, every hole in them, and the statistics of the papers."""

from __future__ import annotations

import re
import time
from pathlib import Path

import fakes
import numpy as np
import pandas as pd
import pytest

from reidkit.attributes import DUKE, MARKET, Attributes, Schema, Task, read_attributes
from reidkit.checks import check_join
from reidkit.errors import InputError
from reidkit.images import read_images
from reidkit.statistics import cooccurrence, imbalance

DATA = Path(__file__).parents[2] / "shared" / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="the real data of shared/data is not on this machine")


def says(pattern: str) -> pytest.RaisesExc:
    """An InputError whose one line matches the pattern."""
    return pytest.raises(InputError, match=re.compile(rf"^(?!.*\n).*{pattern}", re.I))


def share(table: pd.DataFrame, task: str, cls: str) -> float:
    return float(table.set_index(["task", "class"]).loc[(task, cls), "share"])


def count(table: pd.DataFrame, task: str, cls: str) -> int:
    return int(table.set_index(["task", "class"]).loc[(task, cls), "count"])


def test_schemas() -> None:
    assert len(MARKET.columns) == 27 and len(DUKE.columns) == 23
    order = "age gender hair up down clothes hat backpack bag handbag upcolor downcolor"
    assert [task.name for task in MARKET.tasks] == order.split()
    order = "gender hat boots top backpack bag handbag shoes upcolor downcolor"
    assert [task.name for task in DUKE.tasks] == order.split()
    sizes = {task.name: len(task.classes) for task in MARKET.tasks}
    assert sizes["age"] == 4 and sizes["upcolor"] == 9 and sizes["downcolor"] == 10 and sizes["hat"] == 2
    assert [len(task.classes) for task in DUKE.tasks[-2:]] == [9, 8]


def test_codes_are_decoded_by_name(tmp_path: Path) -> None:
    values = {
        ("train", "age"): [1, 2, 3, 4, 2],
        ("train", "gender"): [2, 1, 1, 1, 1],
        ("train", "upred"): [2, 2, 1, 1, 1],
        ("train", "upblue"): [1, 2, 1, 1, 1],  # 7 has two colours: multi
        ("test", "hat"): [1, 2, 1],
    }
    file = fakes.attribute_mat(tmp_path / "market_attribute.mat", values=values)
    found = read_attributes("market1501", file=file)
    assert found.tasks["age"].tolist() == [0, 1, 2, 3, 1, 1 - 1, 0, 0]
    red, multi = MARKET.tasks[10].classes.index("red"), len(MARKET.tasks[10].classes) - 1
    assert found.tasks.loc[[2, 7, 10], "upcolor"].tolist() == [red, multi, multi]
    assert found.tasks.loc[3, "hat"] == 1 and found.tasks["hat"].sum() == 1
    assert found.split[found.split == "train"].index.tolist() == [2, 7, 10, 11, 12]
    assert found.split[found.split == "test"].index.tolist() == [1, 3, 4]
    assert found.binary.shape == (8, 30) and found.binary.loc[2, ["age_young", "age_old"]].tolist() == [1, 0]
    words = [
        "young",
        "female",
        "short hair",
        "long sleeve",
        "long lower",
        "dress",
        "red upper",
        "multi-colour lower",
    ]
    assert found.describe(2) == words
    with says("person 99 has no attributes"):
        found.describe(99)


def test_labels_of_images(tmp_path: Path) -> None:
    found = read_attributes("synthetic", fakes.synthetic(tmp_path))
    labels = found.of([-1, 0, 2, 2, 999])
    assert labels.shape == (5, 12) and labels.dtype == np.int64
    assert (labels[[0, 1, 4]] == -1).all() and (labels[2] >= 0).all()
    assert found.of(np.array([2]), binary=True).shape == (1, 30)
    assert found.of([]).shape == (0, 12)


def test_holes_are_missing_everywhere(tmp_path: Path) -> None:
    values = {("train", "top"): [0, 2], ("train", "upblack"): [0, 2], ("train", "downblue"): [2, 1]}
    file = fakes.attribute_mat(tmp_path / "duke_attribute.mat", DUKE, ((1, 8), (2,)), values)
    found = read_attributes("dukemtmc", tmp_path)
    assert read_attributes("dukemtmc", file=file).tasks.equals(found.tasks)
    assert found.tasks.loc[1, ["top", "upcolor"]].tolist() == [-1, -1]
    assert found.binary.loc[1, ["top", "upblack"]].tolist() == [-1, -1] and found.binary.shape == (3, 23)
    assert "top" not in " ".join(found.describe(1)) and "blue lower" in found.describe(1)
    table = imbalance(found)
    assert share(table, "top", "long") == 100.0 and count(table, "top", "short") == 0


@pytest.mark.parametrize("place", ["market_attribute.mat", "attribute/market_attribute.mat", "../market_attribute.mat"])
def test_where_the_annotation_is_found(place: str, tmp_path: Path) -> None:
    root = fakes.market(tmp_path / "data")
    fakes.attribute_mat(root / place)
    assert len(read_attributes("market1501", root).table) == 8


def test_absent_annotation(tmp_path: Path) -> None:
    with says("no market_attribute.mat in .*datasets/README.md"):
        read_attributes("market1501", tmp_path)
    fakes.attribute_mat(tmp_path / "market_attributes.mat")
    with says("there is a market_attributes.mat, so give it as file"):
        read_attributes("market1501", tmp_path)
    with says("cannot be read: No such file"):
        read_attributes("market1501", file=tmp_path / "nothing.mat")
    with says("has no attributes"):
        read_attributes("pku", tmp_path)
    with says("did you mean 'viper'"):
        read_attributes("vipre", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n" + b"0" * 100, "HDF5.* save it with -v7"),
        (b"MATLAB 7.3 MAT-file" + b" " * 493 + b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"PK\x03\x04", "zip archive"),
        (b"hello", "unknown kind .it begins b'hello'"),
    ],
)
def test_what_is_no_annotation_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "market_attribute.mat"
    file.write_bytes(content)
    with says(f"market_attribute.mat is .*{message}|{message}"):
        read_attributes("market1501", file=file)
    assert file.read_bytes() == content


def test_damaged_annotation(tmp_path: Path) -> None:
    file = fakes.attribute_mat(tmp_path / "market_attribute.mat")
    whole = file.read_bytes()
    for n in (128, 130, 200, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:n])
        with says("truncated or damaged|not the struct"):
            read_attributes("market1501", file=file)
    fakes.attribute_mat(file, DUKE)
    with says("holds duke_attribute, not the struct market_attribute"):
        read_attributes("market1501", file=file)
    for values, message in (
        ({("train", "hat"): [3, 1, 1, 1, 1]}, r"train.hat holds a value other than 0 to 2"),
        ({("train", "hat"): [1, 1]}, "different lengths"),
    ):
        fakes.attribute_mat(file, values=values)
        with says(message):
            read_attributes("market1501", file=file)
    fakes.attribute_mat(file, pids=((1, 2), (2, 3)))
    with says("annotates person 2 twice"):
        read_attributes("market1501", file=file)
    fakes.attribute_mat(file, Schema("market1501", MARKET.tasks[1:]))
    with says("train lacks age"):
        read_attributes("market1501", file=file)


def test_peta_labels(tmp_path: Path) -> None:
    root = fakes.viper(tmp_path / "v")
    found = read_attributes("viper", root)
    assert list(found.schema.columns) == ["accessoryHat", "footwearSneaker", "personalFemale", "personalMale"]
    assert found.describe(1) == ["accessory hat", "personal female"] and found.tasks.loc[0, "footwearSneaker"] == 1
    for fold in (0, 5):
        images = read_images("viper", root, fold=fold)
        split = read_attributes("viper", root, fold=fold).split
        assert set(split.index[split == "train"]) == set(images.loc[images["split"] == "train", "pid"])
    original = fakes.viper(tmp_path / "original", original=True)
    beside = read_attributes("viper", original, root / "archive" / "Label.txt")
    assert beside.tasks.equals(found.tasks)
    with says("no Label.txt"):
        read_attributes("viper", original)


@pytest.mark.parametrize("text", ["", "<html>\n", "12\n", "1 hat\n1 hat\n", "\xe9 hat\n"])
def test_bad_labels(text: str, tmp_path: Path) -> None:
    root = fakes.viper(tmp_path)
    (root / "archive" / "Label.txt").write_text(text, encoding="latin-1")
    with says("Label.txt (is empty|has a line|has 2 lines|cannot be read as text)"):
        read_attributes("viper", root)


def test_attributes_of_a_table(tmp_path: Path) -> None:
    file = fakes.table(
        tmp_path / "mine.csv",
        hat=[1, 1, 0, 1, None, -1],
        coat=["red", "red", None, "blue", "blue", "green"],
        glasses=[True, True, False, False, False, True],
        height=[1.7, 1.7, 1.8, 1.6, 1.6, 1.9],  # a measurement is no attribute
    )
    found = read_attributes("table", file)
    assert [task.name for task in found.schema.tasks] == ["hat", "coat", "glasses"]
    assert found.tasks.to_dict("list") == {
        "hat": [1, 0, 1, -1],
        "coat": [2, -1, 0, 1],
        "glasses": [1, 0, 0, 1],
    }
    assert found.schema.tasks[1].classes == ("blue", "green", "red")
    assert list(found.binary.columns) == ["hat", "coat_blue", "coat_green", "coat_red", "glasses"]
    assert found.split.tolist() == ["train", "train", "test", "test"]
    assert found.describe(1) == ["hat", "coat red", "glasses"]
    with says("column 'hat' has several values for person 1"):
        read_attributes("table", fakes.table(tmp_path / "mine.csv", hat=[1, 0, 0, 1, 1, 0]))
    with says("no attribute columns"):
        read_attributes("table", fakes.table(tmp_path / "mine.csv"))


def small() -> Attributes:
    """Four training people and a test person; one hole."""
    pids = pd.Index([1, 2, 3, 4, 5], name="pid")
    table = pd.DataFrame({"hat": [1, 1, 0, -1, 0], "bag": [1, 0, 0, 1, 1]}, pids)
    split = pd.Series(["train"] * 4 + ["test"], pids)
    return Attributes(Schema("small", tuple(Task(n, ("no", "yes"), (n,)) for n in ("hat", "bag"))), table, split)


def test_imbalance_by_hand() -> None:
    table = imbalance(small())
    assert list(table.columns) == ["task", "class", "count", "share"]
    assert table["count"].tolist() == [1, 2, 2, 2]
    assert table["share"].tolist() == pytest.approx([100 / 3, 200 / 3, 50, 50])
    images = pd.DataFrame({"pid": [1, 1, 1, 3, 4, 0, -1, 9, 5], "split": ["train"] * 8 + ["gallery"]})
    assert imbalance(small(), images)["count"].tolist() == [1, 3, 1, 4]  # 0, -1 and 9 have no labels
    assert imbalance(small(), images, split="test")["count"].tolist() == [1, 0, 0, 1]
    assert imbalance(small(), images, split=None)["count"].sum() == 11
    with says("no images with attributes in the split 'val'"):
        imbalance(small(), images, split="val")


def test_cooccurrence_by_hand() -> None:
    percent = cooccurrence(small())
    assert percent.loc["hat", "bag"] == 50.0 and percent.loc["bag", "hat"] == 100.0
    assert (np.diag(percent) == 100).all()
    assert cooccurrence(small(), measure="lift").loc["hat", "bag"] == pytest.approx(0.5 / (1 / 3))
    with says("did you mean|choose one of percent, lift, phi"):
        cooccurrence(small(), measure="cosine")


def test_cooccurrence_agrees_with_numpy() -> None:
    random = np.random.default_rng(0)
    pids = pd.Index(range(200), name="pid")
    columns = ["a", "b", "c"]
    table = pd.DataFrame(random.integers(0, 2, (200, 3)), pids, columns)
    tasks = tuple(Task(n, ("no", "yes"), (n,)) for n in columns)
    labels = Attributes(Schema("random", tasks), table, pd.Series("train", pids))
    np.testing.assert_allclose(cooccurrence(labels, measure="phi"), np.corrcoef(table.T))
    images = pd.DataFrame({"pid": random.integers(0, 200, 1000), "split": "train"})
    shown = table.loc[images["pid"]]
    np.testing.assert_allclose(cooccurrence(labels, images, measure="phi"), np.corrcoef(shown.T))
    given = 100 * shown.loc[shown["a"] == 1, "b"].mean()
    assert cooccurrence(labels, images).loc["a", "b"] == pytest.approx(given)


def test_check_join(tmp_path: Path) -> None:
    images = read_images("market1501", fakes.market(tmp_path))
    whole = fakes.attribute_mat(tmp_path / "market_attribute.mat")
    assert check_join(images, read_attributes("market1501", file=whole)) == []
    part = fakes.attribute_mat(tmp_path / "part.mat", pids=((2, 7, 10, 11, 50), (1, 3)))
    problems = check_join(images, read_attributes("market1501", file=part))
    assert [p.level for p in problems] == ["warning", "warning"]
    assert "2 of the 8 people in the images have no attributes" in problems[0].sentence
    assert "(pids 4, 12)" in problems[0].sentence and "(pids 50)" in problems[1].sentence
    other = fakes.attribute_mat(tmp_path / "other.mat", pids=((60,), (61,)))
    assert [p.level for p in check_join(images, read_attributes("market1501", file=other))] == ["error"]


@real
def test_real_market_per_identity() -> None:
    found = read_attributes("market1501", DATA)
    assert found.table.shape == (1501, 27) and found.binary.shape == (1501, 30) and found.tasks.shape == (1501, 12)
    assert found.split.value_counts().to_dict() == {"train": 751, "test": 750}
    assert (found.tasks >= 0).all(axis=None)
    table = imbalance(found)
    for task, cls, value in (
        ("age", "young", 1.9), ("age", "teenager", 75.8), ("age", "adult", 21.3), ("age", "old", 1.1),
        ("hat", "yes", 2.7), ("upcolor", "white", 30.4),
    ):  # fmt: skip
        assert round(share(table, task, cls), 1) == value
    assert count(table, "upcolor", "multi") == 78 and count(table, "downcolor", "multi") == 30
    test = imbalance(found, split="test")
    assert count(test, "upcolor", "multi") == 69 and count(test, "downcolor", "multi") == 44
    for colours in ("upcolor", "downcolor"):
        task = next(task for task in MARKET.tasks if task.name == colours)
        assert (found.table[list(task.columns)] == 1).sum(axis=1).max() == 1  # no person has two


@real
def test_real_market_per_image() -> None:
    images, found = read_images("market1501", DATA), read_attributes("market1501", DATA)
    began = time.perf_counter()
    table = imbalance(found, images)
    assert time.perf_counter() - began < 5
    assert table.groupby("task")["count"].sum().unique().tolist() == [12936]
    for task, cls, value in (
        ("age", "young", 1.65), ("age", "teenager", 78.08), ("age", "adult", 18.83), ("age", "old", 1.44),
        ("hat", "yes", 2.26), ("upcolor", "white", 30.25), ("downcolor", "black", 38.27),
    ):  # fmt: skip
        assert round(share(table, task, cls), 2) == value
    assert check_join(images, found) == []
    gallery = images[images["split"] == "gallery"]
    labels = found.of(gallery["pid"])
    assert ((labels == -1).all(axis=1) == (gallery["pid"] <= 0).to_numpy()).all()
    dresses = cooccurrence(found)
    assert dresses.loc["hat", "hat"] == 100 and dresses.loc["gender", "clothes"] < 100


@real
def test_real_market_crops_join() -> None:
    root = DATA / "Market-1501-mini"
    images, found = read_images("market1501", root), read_attributes("market1501", root)
    assert (found.of(images["pid"]) >= 0).all()
    assert [p.level for p in check_join(images, found)] == ["warning"]  # 32 of 1501 people are here


@real
def test_real_fields_differ_in_order() -> None:
    from scipy.io import loadmat

    for name in ("market", "duke"):
        content = loadmat(DATA / f"{name}_attribute.mat", squeeze_me=True, struct_as_record=False)
        struct = content[f"{name}_attribute"]
        assert struct.train._fieldnames != struct.test._fieldnames
        assert sorted(struct.train._fieldnames) == sorted(struct.test._fieldnames)
        found = read_attributes({"market": "market1501", "duke": "dukemtmc"}[name], DATA)
        for split in ("train", "test"):
            part = getattr(struct, split)
            pids = [int(text) for text in part.image_index]
            for column in found.schema.columns:
                assert (found.table.loc[pids, column].to_numpy() == getattr(part, column).astype(int) - 1).all()


@real
def test_real_duke_holes() -> None:
    found = read_attributes("dukemtmc", DATA)
    assert found.table.shape == (1812, 23) and found.binary.shape == (1812, 23)
    assert found.split.value_counts().to_dict() == {"test": 1110, "train": 702}
    holes = found.tasks[(found.tasks == -1).any(axis=1)]
    assert holes.index.tolist() == [370, 679] and (holes["top"] == -1).all()  # the file has two, both in train
    assert ((holes.drop(columns="top")) >= 0).all(axis=None)
    assert count(imbalance(found), "upcolor", "multi") == 1
    assert found.tasks.loc[3732, "upcolor"] == len(DUKE.tasks[8].classes) - 1
    assert sum(count(imbalance(found), "top", cls) for cls in ("short", "long")) == 700
    test = imbalance(found, split="test")
    assert count(test, "upcolor", "multi") == 14 and count(test, "downcolor", "multi") == 11 + 22 + 1


@real
@pytest.mark.parametrize(("name", "people", "columns"), [("viper", 632, 94), ("towncentre", 228, 76)])
def test_real_peta(name: str, people: int, columns: int) -> None:
    images, found = read_images(name, DATA / "PETA"), read_attributes(name, DATA / "PETA")
    assert found.table.shape == (people, columns) and "footwearSneaker" in found.table
    assert "footwearSneakers" not in found.table and found.table.isin([0, 1]).all(axis=None)
    assert [p.level for p in check_join(images, found)] == (["warning"] if name == "towncentre" else [])
    assert len(set(imbalance(found, images).groupby("task")["count"].sum())) == 1
