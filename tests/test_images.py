"""The table of images: every layout, every rule, and every way in which a folder can be wrong."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import fakes
import numpy as np
import pandas as pd
import pytest

from reidkit.checks import find_problems, matches
from reidkit.errors import InputError, nearest
from reidkit.images import CARDS, COLUMNS, absolute, check_schema, default_root, is_person, read_images, validation_fold

DATA = Path(__file__).parents[2] / "shared" / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="the real data of shared/data is not on this machine")

LAYOUTS = {
    "market1501": fakes.market, "synthetic": fakes.synthetic, "dukemtmc": fakes.duke, "viper": fakes.viper,
    "pku": fakes.pku, "towncentre": fakes.towncentre, "table": lambda root: fakes.table(root / "mine.csv"),
}  # fmt: skip


def sizes(images: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """(images, people) of every split."""
    return {str(s): (len(part), part["pid"].nunique()) for s, part in images.groupby("split")}


def says(pattern: str) -> pytest.RaisesExc:
    """An InputError whose one line matches the pattern."""
    return pytest.raises(InputError, match=re.compile(rf"^(?!.*\n).*{pattern}", re.I))


@pytest.mark.parametrize("name", CARDS)
def test_every_reader_gives_the_same_table(name: str, tmp_path: Path) -> None:
    root = LAYOUTS[name](tmp_path)
    images = read_images(name, root)
    check_schema(images)
    assert list(images.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert [str(images[c].dtype) for c in ("pid", "camid", "frame", "orientation")] == ["int64"] * 4
    assert images["path"].map(lambda path: Path(path).is_absolute() and Path(path).is_file()).all()
    assert set(images.attrs) == {"dataset", "root", "rule", "fold"} and images.attrs["dataset"] == name
    pd.testing.assert_frame_equal(images, read_images(name, root))
    order = images["split"].map({"train": 0, "query": 1, "gallery": 2})
    assert order.is_monotonic_increasing
    assert images.groupby("split")["path"].apply(lambda paths: paths.is_monotonic_increasing).all()


def test_market_names_are_read(tmp_path: Path) -> None:
    images = read_images("market1501", fakes.market(tmp_path))
    assert sizes(images) == {"train": (10, 5), "query": (3, 3), "gallery": (5, 4)}
    gallery = images[images["split"] == "gallery"]
    assert gallery["pid"].tolist() == [-1, 0, 1, 1, 3]  # junk and distractors are kept
    assert gallery["camid"].tolist() == [1, 3, 1, 2, 1]
    assert gallery["frame"].tolist() == [105, 104, 101, 102, 103]


def test_double_endings_of_the_published_files_are_accepted(tmp_path: Path) -> None:
    root = fakes.market(tmp_path)
    fakes.image(root / "query" / "1488_c1s6_023021_00.jpg.jpg")
    assert 1488 in set(read_images("market1501", root)["pid"])


def test_synthetic_joins_orientation_and_frame(tmp_path: Path) -> None:
    images = read_images("synthetic", fakes.synthetic(tmp_path))
    assert images["orientation"].between(0, 7).all() and (images["frame"] >= 100).all()
    truth = pd.read_csv(tmp_path / "synthetic.csv")
    truth["path"] = [str(tmp_path / p) for p in truth["path"]]
    joined = images.merge(truth, on="path", validate="one_to_one")
    assert (joined["orientation_x"] == joined["orientation_y"]).all()


def test_lists_give_a_table_without_images(tmp_path: Path) -> None:
    root = fakes.market_lists(tmp_path)
    images = read_images("market1501", root)
    assert sizes(images) == {"train": (10, 5), "query": (3, 3), "gallery": (5, 4)}
    absent = [p for p in find_problems(images, progress=False) if "image files" in p.sentence]
    assert len(absent) == 1 and absent[0].level == "warning" and "only statistics" in absent[0].sentence
    pd.testing.assert_series_equal(images["pid"], read_images("market1501", root / "market_lists")["pid"])


def test_duke_names_are_read(tmp_path: Path) -> None:
    images = read_images("dukemtmc", fakes.duke(tmp_path))
    assert sizes(images) == {"train": (3, 2), "query": (1, 1), "gallery": (2, 2)}
    assert images["camid"].tolist() == [1, 2, 8, 1, 2, 5] and images["frame"].iloc[-1] == 600
    assert "withdrawn" in CARDS["dukemtmc"].source and "never downloaded" in CARDS["dukemtmc"].source


def test_both_layouts_of_viper_agree(tmp_path: Path) -> None:
    peta = read_images("viper", fakes.viper(tmp_path / "PETA" / "VIPeR"), fold=3)
    original = read_images("viper", fakes.viper(tmp_path / "original", original=True), fold=3)
    keys = ["pid", "camid", "split", "orientation"]
    one, two = (i[keys].sort_values(keys, ignore_index=True) for i in (peta, original))
    pd.testing.assert_frame_equal(one, two, check_flags=False)
    assert set(peta["orientation"]) == {1, 2}  # 45 and 90 degrees
    for above in (tmp_path, tmp_path / "PETA", tmp_path / "PETA" / "VIPeR" / "archive"):
        assert read_images("viper", above, fold=3)["path"].tolist() == peta["path"].tolist()


@pytest.mark.parametrize("name", ["viper", "pku", "towncentre"])
def test_random_halves_are_by_person_and_by_fold(name: str, tmp_path: Path) -> None:
    root = LAYOUTS[name](tmp_path)
    halves = []
    for fold in range(10):
        images = read_images(name, root, fold=fold)
        train = set(images.loc[images["split"] == "train", "pid"])
        test = set(images.loc[images["split"] != "train", "pid"])
        assert not train & test and images.attrs["fold"] == fold
        halves.append(frozenset(train))
    assert len(set(halves)) > 1


def test_a_fold_is_the_same_people_for_ever(tmp_path: Path) -> None:
    images = read_images("viper", fakes.viper(tmp_path), fold=0)
    expected = np.random.RandomState(0).permutation(8)[:4]  # NumPy froze this stream
    assert set(images.loc[images["split"] == "train", "pid"]) == set(expected.tolist())


def test_cross_camera_protocol(tmp_path: Path) -> None:
    images = read_images("pku", fakes.pku(tmp_path))
    assert sizes(images) == {"train": (48, 3), "query": (24, 3), "gallery": (24, 3)}
    assert set(images.loc[images["split"] == "query", "camid"]) == {1}
    assert set(images.loc[images["split"] == "gallery", "camid"]) == {2}
    assert sorted(set(images["orientation"])) == list(range(8))


def test_towncentre_asks_once_per_labelled_person(tmp_path: Path) -> None:
    images = read_images("towncentre", fakes.towncentre(tmp_path))
    query, gallery = (images[images["split"] == s] for s in ("query", "gallery"))
    assert images.attrs["rule"] == "same_image" and query["pid"].is_unique
    assert set(query["path"]) <= set(gallery["path"])
    assert 5 in set(gallery["pid"]) and 5 not in set(query["pid"])  # person 5 has no label: only searched
    assert (matches(images)["removed"] == 1).all()


def test_a_real_person_zero_is_no_distractor(tmp_path: Path) -> None:
    viper = read_images("viper", fakes.viper(tmp_path / "v"))
    assert is_person(viper).all()
    market = read_images("market1501", fakes.market(tmp_path / "m"))
    assert market.loc[~is_person(market), "pid"].tolist() == [-1, 0]


def test_table_of_ones_own(tmp_path: Path) -> None:
    plain = read_images("table", fakes.table(tmp_path / "a" / "plain.csv"))
    assert set(plain["camid"]) == {0} and plain.attrs["rule"] == "same_image"
    file = fakes.table(tmp_path / "b" / "full.parquet", camid=[1, 2, 1, 1, 2, 2], hat=[0, 0, 1, 1, 1, 0])
    full = read_images("table", file)
    assert full.attrs["rule"] == "market1501" and list(full.columns) == [*COLUMNS, "hat"]
    assert full["path"].str.startswith(str(tmp_path / "b" / "images")).all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pid": ["P1", "P1", 2, 3, 3, 4]}, "'pid' holds 'P1' in row 1, where a whole number"),
        ({"pid": [1.5, 1, 2, 3, 3, 4]}, "'pid' holds .*1.5"),
        ({"pid": [None, 1, 2, 3, 3, 4]}, "'pid' holds an empty cell in row 1"),
        ({"pid": [-2, 1, 2, 3, 3, 4]}, "pid -2 is below -1"),
        ({"camid": [1, 1, None, 1, 1, 1]}, "'camid' holds an empty cell in row 3"),
        ({"split": ["trian", "train", "train", "query", "gallery", "gallery"]}, "did you mean 'train'"),
        ({"split": ["train", "train", "train", "query", "test", "gallery"]}, "split 'test' is not known"),
        ({"path": ["a.png", "a.png", "b.png", "c.png", "d.png", "e.png"]}, "a.png stands twice in train"),
        ({"path": [None, "a.png", "b.png", "c.png", "d.png", "e.png"]}, "row 1 has no path"),
    ],
)
def test_bad_cells_of_a_table(columns: dict[str, list[object]], message: str, tmp_path: Path) -> None:
    with says(message):
        read_images("table", fakes.table(tmp_path / "mine.csv", **columns))


def test_rows_of_a_table_stay_whatever_their_index(tmp_path: Path) -> None:
    """Parquet keeps the index, and tables put together carry the same numbers twice."""
    plain = pd.read_csv(fakes.table(tmp_path / "mine.csv")).assign(mine=range(6))
    plain.set_axis([0, 1, 2] * 2).to_parquet(tmp_path / "mine.parquet")
    plain.to_csv(tmp_path / "mine.csv", index=False)
    csv, parquet = (read_images("table", tmp_path / f"mine.{ending}") for ending in ("csv", "parquet"))
    pd.testing.assert_frame_equal(csv, parquet)
    assert sorted(parquet["mine"]) == list(range(6))


def test_bad_tables(tmp_path: Path) -> None:
    file = fakes.table(tmp_path / "mine.csv")
    with says("did you mean .*mine.csv"):
        read_images("table", tmp_path / "mein.csv")
    with says("is a folder; did you mean .*mine.csv"):
        read_images("table", tmp_path)
    pd.read_csv(file).drop(columns="pid").to_csv(file, index=False)
    with says("lacks pid .it has path, split"):
        read_images("table", file)
    file.write_text("path,pid,split\n")
    with says("has no rows"):
        read_images("table", file)
    for name, content in (
        ("empty.csv", b""),
        ("not.parquet", b"<html>"),
        ("binary.csv", b"\xff\x00\xfe\n\x81"),
    ):
        (tmp_path / name).write_bytes(content)
        with says("cannot be read as a table|lacks path"):
            read_images("table", tmp_path / name)


def test_wrong_roots_name_the_nearest_match(tmp_path: Path) -> None:
    root = fakes.market(tmp_path / "Market-1501-v15.09.15")
    with says("did you mean .*Market-1501-v15.09.15"):
        read_images("market1501", tmp_path / "Market1501-v15.09.15")
    with says("but in .*Market-1501-v15.09.15; give that"):
        read_images("market1501", tmp_path)
    with says("but in .*Market-1501-v15.09.15; give that"):
        read_images("market1501", root / "query")
    with says("is a file, not a folder"):
        read_images("market1501", root / "query" / "Thumbs.db")
    with says("did you mean 'market1501'"):
        read_images("market", root)
    (root / "query").rename(root / "querry")
    with says("holds 'querry', not 'query'"):
        read_images("market1501", root)
    (root / "querry").rename(tmp_path / "elsewhere")
    with says("lacks query"):
        read_images("market1501", root)


@pytest.mark.parametrize("name", [n for n in CARDS if n != "table"])
def test_absent_and_empty_folders(name: str, tmp_path: Path) -> None:
    with says(f"there is no .*; expected .*source: {re.escape(CARDS[name].source)}"):
        read_images(name, tmp_path / "qqq" / "zzz")
    with says("is empty.*expected"):
        read_images(name, tmp_path)
    with says("folds? is -1|fold is -1"):
        read_images(name, tmp_path, fold=-1)
    assert list(tmp_path.iterdir()) == []  # an error leaves nothing behind


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("market1501", "query/0001.jpg"),
        ("dukemtmc", "bounding_box_test/0001_c1s1_000100_00.jpg"),
        ("viper", "archive/1_45.bmp"),
        ("viper", "archive/001_44_1.bmp"),
        ("pku", "001_03_1.png"),
        ("towncentre", "archive/one.jpg"),
    ],
)
def test_wrong_file_names_are_named(name: str, file: str, tmp_path: Path) -> None:
    root = LAYOUTS[name](tmp_path)
    fakes.image(root / file)
    with says(re.escape(Path(file).name)):
        read_images(name, root)


def test_incomplete_markets(tmp_path: Path) -> None:
    root = fakes.market(tmp_path / "m")
    for path in (root / "query").iterdir():
        path.unlink()
    with says("query holds no .jpg image"):
        read_images("market1501", root)
    lists = fakes.market_lists(tmp_path / "l")
    (lists / "market_lists" / "market1501_query.csv").write_text("0001,query/0002_c1s1_000001_00.jpg\n")
    with says("market1501_query.csv: line 1 is"):
        read_images("market1501", lists)
    (lists / "market_lists" / "market1501_test.csv").unlink()
    (lists / "market_lists" / "market1501_query.csv").write_text("0001,query/0001_c1s1_000001_00.jpg\n")
    with says("lacks market1501_test.csv"):
        read_images("market1501", lists)
    synthetic = fakes.synthetic(tmp_path / "s")
    fakes.image(synthetic / "query" / "0009_c1s1_000001_00.jpg")
    with says("no row for .*0009_c1"):
        read_images("synthetic", synthetic)
    (synthetic / "synthetic.csv").unlink()
    with says("lacks synthetic.csv"):
        read_images("synthetic", synthetic)


def test_default_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REIDKIT_ROOT", raising=False)
    root = fakes.market(tmp_path / "datasets" / CARDS["market1501"].folder)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert default_root("market1501") == root and len(read_images("market1501")) == 18
    assert default_root("pku") == tmp_path / "notebooks" / "datasets" / "PKU-Reid"
    monkeypatch.setenv("REIDKIT_ROOT", str(tmp_path / "datasets"))
    assert default_root("market1501") == root
    monkeypatch.setenv("REIDKIT_ROOT", str(root))
    assert default_root("market1501") == root
    monkeypatch.setenv("HOME", str(tmp_path))
    assert absolute("~/datasets/../x") == tmp_path / "x"
    with says("cannot be expanded"):
        absolute("~nobody-of-this-name/x")


def test_validation_fold_moves_people(tmp_path: Path) -> None:
    images = read_images("market1501", fakes.market(tmp_path))
    folds = validation_fold(images)
    assert sizes(folds)["val"] == (4, 2) and sizes(folds)["train"] == (6, 3)
    assert folds["path"].tolist() == images["path"].tolist() and folds.attrs == images.attrs
    by_person = folds[folds["split"].isin(["train", "val"])].groupby("pid")["split"].nunique()
    assert (by_person == 1).all()
    assert any((validation_fold(images, seed=s)["split"] != folds["split"]).any() for s in range(1, 5))
    assert sizes(validation_fold(images, 0.01))["val"][1] == 1
    for fraction in (0, 1, -1, float("nan")):
        with says("fraction is"):
            validation_fold(images, fraction)
    with says("at least 2"):
        validation_fold(images[images["split"] == "query"])
    assert not [p for p in find_problems(folds, progress=False) if p.level == "error"]


def slow_matches(images: pd.DataFrame, rule: str) -> list[tuple[int, int, int]]:
    """The definition, pair by pair."""
    out = []
    gallery = images[images["split"] == "gallery"].to_dict("records")
    for q in images[images["split"] == "query"].to_dict("records"):
        same = [g for g in gallery if g["pid"] == q["pid"] != -1]
        left = [
            g for g in same
            if not (rule == "market1501" and g["camid"] == q["camid"])
            and not (rule == "same_image" and g["path"] == q["path"])
        ]  # fmt: skip
        out.append((len(same), len(same) - len(left), len(left)))
    return out


@pytest.mark.parametrize("rule", ["market1501", "same_image", "none"])
@pytest.mark.parametrize("seed", range(5))
def test_matches_agree_with_the_definition(rule: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    n = 60
    images = pd.DataFrame(
        {
            "path": [f"/{k}.png" for k in random.permutation(n)],
            "pid": random.integers(-1, 8, n),
            "camid": random.integers(1, 4, n),
            "split": random.choice(["query", "gallery", "train"], n),
            "frame": -1,
            "orientation": -1,
        }
    )
    shared = images[images["split"] == "gallery"].iloc[:5].assign(split="query")
    images = pd.concat([images, shared], ignore_index=True)
    found = matches(images, rule)
    assert list(found.columns) == ["pid", "camid", "same_pid", "removed", "valid"]
    assert [tuple(row) for row in found[["same_pid", "removed", "valid"]].to_numpy()] == slow_matches(images, rule)


def test_matches_refuses_unknown_rules(tmp_path: Path) -> None:
    with says("rule 'market' is not known"):
        matches(read_images("market1501", fakes.market(tmp_path)), "market")


def test_check_says_which_rule_removed_what(tmp_path: Path) -> None:
    images = read_images("market1501", fakes.market(tmp_path))
    (problem,) = [p for p in find_problems(images, progress=False) if "valid match" in p.sentence]
    assert problem.level == "warning" and problem.sentence.startswith("2 of 3 queries")
    assert "1 whose person is not in the gallery (pids 4)" in problem.sentence
    assert "1 whose every gallery image the rule market1501 removes (pids 3)" in problem.sentence
    hopeless = images[(images["pid"] != 1)]
    assert any(p.level == "error" and "2 of 2 queries" in p.sentence for p in find_problems(hopeless, progress=False))


def test_check_finds_broken_files(tmp_path: Path) -> None:
    root = fakes.market(tmp_path)
    cut = root / "query" / "0001_c1s1_000100_00.jpg"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (root / "query" / "0003_c1s1_000100_00.jpg").write_text("<html>")
    (root / "query" / "0004_c1s1_000100_00.jpg").write_bytes(b"")
    fakes.image(root / "bounding_box_test" / "0000_c3s1_000104_01.jpg", size=(4, 32))
    images = read_images("market1501", root)
    found = {p.sentence: p.level for p in find_problems(images, progress=False)}
    (broken,) = [s for s in found if "do not decode" in s]
    assert broken.startswith("3 of 18 images") and cut.name in broken and found[broken] == "error"
    (tiny,) = [s for s in found if "smaller than 8 pixels" in s]
    assert "000104" in tiny
    assert not [p for p in find_problems(images, decode=False) if "decode" in p.sentence]
    cut.unlink()
    assert any("1 of 18 image files are not there" in p.sentence for p in find_problems(images, progress=False))
    levels = [p.level for p in find_problems(images, progress=False)]
    assert levels == sorted(levels)  # errors first


def test_check_compares_counts_and_sides(tmp_path: Path) -> None:
    images = read_images("market1501", fakes.market(tmp_path))
    sentences = [p.sentence for p in find_problems(images, progress=False)]
    assert any("train has 10 images of 5 people, the complete Market-1501 12936 of 751" in s for s in sentences)
    assert any("gallery has 5 images of 2 people" in s for s in sentences)  # distractors are nobody
    leak = pd.concat([images, images[images["pid"] == 1].iloc[:1].assign(split="train")], ignore_index=True)
    assert any(p.level == "error" and "both train and test" in p.sentence for p in find_problems(leak, progress=False))
    for split, level in (("train", "warning"), ("query", "error"), ("gallery", "error")):
        rest = images[images["split"] != split]
        found = [p for p in find_problems(rest, progress=False) if f"the split {split} has no images" in p.sentence]
        assert [p.level for p in found] == [level]


def test_check_schema(tmp_path: Path) -> None:
    images = read_images("pku", fakes.pku(tmp_path, people=2))
    with says("lacks pid"):
        check_schema(images.drop(columns="pid"))
    with says("no rows"):
        check_schema(images.iloc[:0])
    with says("'pid' has type float64"):
        check_schema(images.astype({"pid": float}))


def test_nearest() -> None:
    assert nearest("Trian", ["train", "query"]) == "train"
    assert nearest("xyz", ["train", "query"]) is None and nearest("x", []) is None


@real
def test_real_market_lists() -> None:
    began = time.perf_counter()
    images = read_images("market1501", DATA)
    assert time.perf_counter() - began < 10
    assert sizes(images) == {"train": (12936, 751), "query": (3368, 750), "gallery": (19732, 752)}
    gallery = images[images["split"] == "gallery"]
    assert (gallery["pid"] > 0).sum() + (gallery["pid"] == 0).sum() == 15913
    assert set(images["camid"]) == set(range(1, 7))
    table = matches(images)
    assert len(table) == 3368 and (table["valid"] > 0).all()
    assert [p.level for p in find_problems(images, progress=False)] == [
        "warning"
    ]  # the images are absent, all counts fit


@real
def test_real_market_crops() -> None:
    images = read_images("market1501", DATA / "Market-1501-mini")
    assert len(images) == 96 and images["pid"].nunique() == 32
    assert not [p for p in find_problems(images, progress=False) if p.level == "error"]
    names = {Path(path).name for path in read_images("market1501", DATA)["path"]}
    assert {Path(path).name for path in images["path"]} <= names


@real
def test_real_viper() -> None:
    for fold in (0, 9):
        images = read_images("viper", DATA / "PETA", fold=fold)
        assert sizes(images) == {"train": (632, 316), "query": (316, 316), "gallery": (316, 316)}
        assert (matches(images)["valid"] == 1).all()
    assert 0 in set(images["pid"]) and find_problems(images, progress=False) == []
    with says("fold is 10"):
        read_images("viper", DATA / "PETA", fold=10)


@real
def test_real_pku() -> None:
    images = read_images("pku", DATA / "PKU-Reid")
    assert sizes(images) == {"train": (592, 37), "query": (296, 37), "gallery": (296, 37)}
    assert (matches(images)["valid"] == 8).all()
    assert {p.level for p in find_problems(images, progress=False)} == {"warning"}  # 74 of 114 people


@real
def test_real_towncentre() -> None:
    images = read_images("towncentre", DATA / "PETA")
    assert images["path"].nunique() == 6967 and images["pid"].nunique() == 222
    assert sizes(images)["query"] == (111, 111) and sizes(images)["train"][1] == 111
    table = matches(images)
    assert (table["removed"] == 1).all()
    assert table.loc[table["valid"] == 0, "pid"].tolist() == [12, 147]  # people with a single image
    assert not [p for p in find_problems(images, decode=False, progress=False) if p.level == "error"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_unreadable_folder(tmp_path: Path) -> None:
    root = fakes.market(tmp_path)
    (root / "query").chmod(0)
    try:
        with says("cannot be read"):
            read_images("market1501", root)
    finally:
        (root / "query").chmod(0o755)
