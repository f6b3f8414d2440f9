"""Decoding, labels, augmentation against slow versions of itself, and what the samplers promise."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import fakes
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as tv

from reidkit.attributes import MARKET, Task, read_attributes
from reidkit.augment import erase, flip, jitter, rotate, shift
from reidkit.data import Targets, class_counts, decode, load, standardise, unstandardise
from reidkit.errors import InputError
from reidkit.images import read_images
from reidkit.samplers import pk_batches, shuffled_batches, triplet_batches


def noise(b: int = 6, h: int = 24, w: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (b, 3, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- decoding ---


def test_decode_keeps_order_and_decodes_a_path_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [str(fakes.image(tmp_path / f"{k}.png", k, (10, 20))) for k in range(3)]
    opened: list[str] = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda path: (opened.append(path), real(path))[1])
    wanted = [files[2], files[0], files[2], files[1]]
    pixels = decode(wanted, 20, 10)
    assert pixels.dtype == torch.uint8 and pixels.shape == (4, 3, 20, 10)
    assert sorted(opened) == files
    for own, file in zip(pixels, wanted, strict=True):
        np.testing.assert_array_equal(own.permute(1, 2, 0), np.array(real(file)))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_decode_takes_every_mode_and_size(mode: str, tmp_path: Path) -> None:
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (7, 50), (200, 200, 200)).convert(mode).save(file)
    pixels = decode([str(file)], 16, 8).float()
    assert pixels.shape == (1, 3, 16, 8) and (pixels - 200).abs().max() < 8  # palettes have no 200


def test_broken_images_are_named_in_one_sentence(tmp_path: Path) -> None:
    good, cut = fakes.image(tmp_path / "good.jpg"), fakes.image(tmp_path / "cut.jpg", size=(64, 64))
    cut.write_bytes(cut.read_bytes()[:900])
    (tmp_path / "text.png").write_text("no image")
    files = [str(p) for p in (good, cut, tmp_path / "gone.jpg", tmp_path / "text.png", tmp_path)]
    with pytest.raises(InputError) as caught:
        decode(files, 8, 8)
    text = str(caught.value)
    assert "4 of 5 images" in text and "cut.jpg does not decode" in text and "gone.jpg is not there" in text
    assert "good.jpg" not in text and "\n" not in text


# --- images in memory ---


def test_labels_count_people_in_order_and_leave_out_strangers(tmp_path: Path) -> None:
    images = read_images("market1501", fakes.market(tmp_path))
    train = load(images[images["split"] == "train"], 16, 8)
    assert train.people == (2, 7, 10, 11, 12)
    assert train.label.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] and len(train) == 10
    gallery = load(images[images["split"] == "gallery"], 16, 8, people=(3, 1))
    assert gallery.table["pid"].tolist() == [-1, 0, 1, 1, 3] and gallery.label.tolist() == [-1, -1, 1, 1, 0]
    assert load(gallery.table, 16, 8).people == (0, 1, 3)


def test_batch_is_the_rows_asked_for(tmp_path: Path) -> None:
    images = read_images("synthetic", fakes.synthetic(tmp_path))
    rows = images[images["split"] == "train"]
    attributes = read_attributes("synthetic", tmp_path)
    data = load(rows, 16, 8, attributes=attributes)
    index = np.array([7, 0, 7])
    batch = data.batch(index)
    assert set(batch) == {"image", "pid", "label", "camid", "index", "attributes"}
    assert torch.equal(batch["image"], data.pixels[index]) and batch["index"].tolist() == [7, 0, 7]
    for name in ("pid", "camid"):
        assert batch[name].tolist() == rows[name].to_numpy()[index].tolist()
    assert batch["label"].tolist() == [data.people.index(pid) for pid in batch["pid"].tolist()]
    np.testing.assert_array_equal(batch["attributes"], attributes.of(rows["pid"].to_numpy())[index])
    assert load(rows, 16, 8).batch(index)["attributes"].shape == (3, 0)


def test_class_counts_leave_out_what_is_missing(rng: np.random.Generator) -> None:
    tasks = (Task("hat", ("no", "yes"), ("hat",)), Task("up", ("red", "blue", "green", "multi"), ("up",)))
    labels = np.stack([rng.integers(-1, 2, 40), rng.integers(-1, 3, 40)], 1)  # nobody is "multi"
    counts = class_counts(torch.from_numpy(labels), tasks)
    assert counts == [tuple(int((labels[:, t] == c).sum()) for c in range(n)) for t, n in enumerate((2, 4))]
    assert counts[1][3] == 0 and sum(counts[0]) == (labels[:, 0] >= 0).sum()
    assert class_counts(torch.full((3, 2), -1), tasks) == [(0, 0), (0, 0, 0, 0)]
    assert class_counts(torch.empty(3, 0, dtype=torch.int64), ()) == []


def test_class_counts_need_a_column_for_every_task() -> None:
    with pytest.raises(ValueError, match="zip"):
        class_counts(torch.zeros(3, 2, dtype=torch.int64), MARKET.tasks)


def test_targets_are_those_of_the_images_and_go_through_json(tmp_path: Path) -> None:
    images = read_images("synthetic", fakes.synthetic(tmp_path))
    rows = images[images["split"] == "train"]
    plain = load(rows, 16, 8)
    assert plain.tasks == () and plain.targets == Targets(people=5, images=10)
    own = load(rows, 16, 8, attributes=read_attributes("synthetic", tmp_path)).targets
    assert (own.people, own.images, own.tasks) == (5, 10, MARKET.tasks)
    assert own.counts[0] == (10, 0, 0, 0) and all(sum(n) == 10 for n in own.counts)  # all marked with the first code
    for targets in (own, plain.targets, Targets(0)):
        assert Targets.from_dict(json.loads(json.dumps(targets.to_dict()))) == targets


def test_load_refuses_nothing_and_specks(tmp_path: Path) -> None:
    images = read_images("market1501", fakes.market(tmp_path))
    for table, size, message in ((images.iloc[:0], 16, "is empty"), (images, 4, "too small")):
        with pytest.raises(InputError, match=message):
            load(table, size, 16)


# --- transforms ---


def test_standardise_is_that_of_imagenet_and_goes_back() -> None:
    images = noise()
    own = standardise(images)
    expected = tv.normalize(images.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-5)
    assert own.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(unstandardise(own), images / 255, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        flip,
        lambda x, g: shift(x, 3, g),
        lambda x, g: rotate(x, 15, g),
        lambda x, g: erase(x, 0.7, g),
        lambda x, g: jitter(x, 0.3, g),
    ],
    ids=["flip", "shift", "rotate", "erase", "jitter"],
)
def test_transforms_depend_on_the_generator_alone(change: Callable[..., torch.Tensor]) -> None:
    images = noise(16)
    before = images.clone()
    torch.manual_seed(1)
    one = change(images, seeded(5))
    torch.manual_seed(2)
    assert torch.equal(one, change(images, seeded(5)))
    assert not torch.equal(one, change(images, seeded(6)))
    assert one.dtype == torch.uint8 and one.shape == images.shape
    assert torch.equal(images, before)  # the images in memory stay as they are


def test_flip_mirrors_about_half_and_undoes_itself() -> None:
    images = noise(400)
    once = flip(images, seeded())
    mirrored = (once == images.flip(3)).flatten(1).all(1)
    assert torch.equal(once[~mirrored], images[~mirrored])
    assert 150 < mirrored.sum() < 250
    assert torch.equal(flip(once, seeded()), images)


def test_shift_is_a_slow_crop() -> None:
    images, pad = noise(64, 10, 6), 3
    top, left = torch.randint(0, 2 * pad + 1, (2, 64), generator=seeded())
    for image, own, t, l in zip(images, shift(images, pad, seeded()), top, left, strict=True):
        for y in range(10):
            for x in range(6):
                row, column = y + int(t) - pad, x + int(l) - pad
                inside = 0 <= row < 10 and 0 <= column < 6
                assert own[:, y, x].tolist() == (image[:, row, column].tolist() if inside else [0, 0, 0])
    assert len(set(top.tolist())) == len(set(left.tolist())) == 2 * pad + 1
    assert torch.equal(shift(images, 0, seeded()), images)


def test_rotate_turns_as_torchvision_does() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(32.0), indexing="ij")
    smooth = (127 + 100 * torch.sin(y / 9) * torch.cos(x / 7)).expand(8, 3, 64, 32).contiguous()
    assert torch.equal(rotate(noise(), 0.0, seeded()), noise())
    turned = rotate(smooth, 20, seeded())
    for own, u in zip(turned, torch.rand(8, generator=seeded()), strict=True):
        angle = float(u * 2 - 1) * 20
        expected = tv.rotate(smooth[:1], angle, tv.InterpolationMode.BILINEAR)[0]
        torch.testing.assert_close(own[:, 20:44, 10:22], expected[:, 20:44, 10:22], atol=0.05, rtol=0)
        assert abs(angle) < 2 or (own - smooth[0])[:, 20:44, 10:22].abs().max() > 1
    assert turned.min() >= smooth.min() - 0.01  # edges are repeated, no black corners


def test_erase_paints_one_rectangle_within_bounds() -> None:
    images = torch.zeros(500, 3, 64, 48, dtype=torch.uint8)
    erased = erase(images, 1.0, seeded()) > 0  # nothing of the mean colour is 0
    assert torch.equal(erased.any(1), erased.all(1))
    for hole in erased[:, 0]:
        rows, columns = hole.any(1).nonzero()[:, 0], hole.any(0).nonzero()[:, 0]
        high, wide = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert hole.sum() == high * wide  # one full rectangle
        assert 0.02 * hole.numel() * 0.7 < high * wide < 0.40 * hole.numel() * 1.15  # a pixel more or less a side
    share = erased.float().mean((1, 2, 3))
    assert share.min() < 0.05 and share.max() > 0.33
    assert torch.equal(erase(images, 0.0, seeded()), images)
    some = (erase(images, 0.3, seeded()) > 0).flatten(1).any(1).float().mean()
    assert 0.22 < some < 0.38
    colour = erase(images, 1.0, seeded()).flatten(2).amax((0, 2))
    assert colour.tolist() == [123, 116, 103]


def test_jitter_is_one_gain_a_channel_and_one_offset_an_image() -> None:
    images = torch.full((300, 3, 2, 2), 100, dtype=torch.uint8)
    images[:, :, 1] = 110
    own = jitter(images, 0.3, seeded()).float()
    assert torch.equal(jitter(images, 0.0, seeded()), images)
    gain = (own[:, :, 1] - own[:, :, 0]) / 10  # rounded: to a tenth
    assert (own[..., 0] == own[..., 1]).all() and gain.min() >= 0.6 and gain.max() <= 1.4
    least, greatest = own[:, :, 0].min(), own[:, :, 0].max()
    assert 100 * 0.7 - 18 <= least < 60 and 140 < greatest <= 100 * 1.3 + 18
    assert jitter(torch.full((9, 3, 1, 1), 250, dtype=torch.uint8), 1.0, seeded()).max() == 255  # cut off, not wrapped


# --- samplers ---


@pytest.mark.parametrize("n", [2, 7, 64, 65])
def test_shuffled_batches_hold_everything_once(n: int) -> None:
    batches = shuffled_batches(n, 8, np.random.default_rng(0))
    drawn = np.concatenate(batches)
    assert len(set(drawn)) == len(drawn) == n - (n % 8 == 1)  # a batch of one is left out
    assert all(1 < len(b) <= 8 for b in batches)
    assert not np.array_equal(drawn, np.sort(drawn)) or n == 2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("instances", [1, 2, 4])
def test_pk_batches_hold_p_people_with_k_images(instances: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(-1, 12), rng.integers(1, 12, 13)))
    batches = pk_batches(label, 5, instances, rng)
    assert batches
    for batch in batches:
        counts = Counter(label[batch].tolist())
        assert len(counts) == 5 and set(counts.values()) == {instances} and -1 not in counts
    times = Counter(np.concatenate(batches).tolist())
    sizes = Counter(label.tolist())
    for image, count in times.items():
        own = sizes[int(label[image])]
        assert count == 1 or count <= 1 + -(-(-own % instances) // min(own, instances))  # repeated to fill a group
    again = pk_batches(label, 5, instances, np.random.default_rng(99))
    assert np.concatenate(again).tolist() != np.concatenate(batches).tolist()


def test_an_epoch_sees_nearly_every_image_once() -> None:
    label = np.repeat(np.arange(50), 8)
    drawn = np.concatenate(pk_batches(label, 8, 4, np.random.default_rng(0)))
    assert len(set(drawn)) == len(drawn) >= 0.9 * len(label)  # full groups: nothing twice, little left over


def test_pk_batches_at_the_edges() -> None:
    rng = np.random.default_rng(0)
    (batch,) = pk_batches(np.array([0, 0, 0, 1]), 16, 4, rng)  # fewer people than P, one with a single image
    assert sorted(batch.tolist())[-4:] == [3, 3, 3, 3] and set(batch) == {0, 1, 2, 3}
    for label in ([0, 0, 0], [-1, -1], [3, -1, -1]):
        with pytest.raises(InputError, match=r"P x K sampling found [01] person.* at least two"):
            pk_batches(np.array(label), 4, 2, rng)


def test_pk_batches_repeat_with_their_seed() -> None:
    label = np.repeat(np.arange(9), 5)
    one, two = (pk_batches(label, 4, 2, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(np.array(one), np.array(two))


def test_load_is_by_position_not_by_index(tmp_path: Path) -> None:
    images = read_images("market1501", fakes.market(tmp_path))
    rows = images[images["split"] == "query"].iloc[::-1]
    data = load(rows, 32, 16)
    assert data.table["pid"].tolist() == [4, 3, 1] and list(data.table.index) == [0, 1, 2]
    pd.testing.assert_series_equal(data.table["path"], rows["path"].reset_index(drop=True))
    np.testing.assert_array_equal(data.pixels[0].permute(1, 2, 0), np.array(Image.open(rows["path"].iloc[0])))


# --- triplets ---


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("grouped", [False, True])
def test_triplets_are_an_anchor_its_person_and_somebody_else(grouped: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(-1, 10), [9, 1, *rng.integers(1, 7, 9)]))
    group = rng.integers(0, 6, len(label)) if grouped else None
    batches = triplet_batches(label, 4, rng, group)
    sizes = Counter(label.tolist())
    mated = [i for i, own in enumerate(label) if own >= 0 and sizes[int(own)] > 1]
    assert [len(b) for b in batches[:-1]] == [12] * (len(batches) - 1) and len(batches[-1]) % 3 == 0
    assert 3 <= len(batches[-1]) <= 12 and sum(map(len, batches)) == 3 * len(mated)
    anchors, positives, negatives = (np.concatenate([np.split(b, 3)[k] for b in batches]) for k in range(3))
    assert sorted(anchors) == mated and anchors.tolist() != mated  # every one with a mate, once, in any order
    assert (label[anchors] == label[positives]).all() and (anchors != positives).all()
    assert (label[anchors] != label[negatives]).all() and (label[negatives] >= 0).all()
    if group is None:
        return
    near = 0
    for anchor, negative in zip(anchors, negatives, strict=True):
        alike = (group == group[anchor]) & (label >= 0) & (label != label[anchor])
        assert group[negative] == group[anchor] or not alike.any()
        near += alike.any()
    assert near


def test_negatives_come_from_all_where_the_group_has_nobody_else() -> None:
    label, group = np.array([0, 0, 1, 1, 2, 2, -1]), np.array([7, 7, 3, 3, 3, 9, 7])
    drawn: dict[int, set[int]] = {}
    for seed in range(40):
        (batch,) = triplet_batches(label, 10, np.random.default_rng(seed), group)
        for anchor, _, negative in batch.reshape(3, -1).T.tolist():
            drawn.setdefault(anchor, set()).add(negative)
    everyone_else = {0: {2, 3, 4, 5}, 1: {2, 3, 4, 5}, 5: {0, 1, 2, 3}}  # alone with their person in their group
    assert drawn == {**everyone_else, 2: {4}, 3: {4}, 4: {2, 3}}


def test_triplets_repeat_with_their_seed_and_reach_every_mate() -> None:
    label = np.repeat(np.arange(4), 4)
    one, two = (triplet_batches(label, 5, np.random.default_rng(3)) for _ in range(2))
    assert len(one) == 4 and len(one[-1]) == 3
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    others = triplet_batches(label, 5, np.random.default_rng(4))
    assert np.concatenate(one).tolist() != np.concatenate(others).tolist()
    pairs = set()
    for seed in range(60):
        (batch,) = triplet_batches(label, 16, np.random.default_rng(seed))
        pairs |= {(a, p) for a, p, _ in batch.reshape(3, -1).T.tolist()}
    assert len(pairs) == 16 * 3


@pytest.mark.parametrize(
    ("label", "found"),
    [([0, 0, 0], "1 people and 3 images"), ([0, 1, 2], "3 people and 3"), ([-1, -1], "0 people"), ([], "0 people")],
)
def test_triplets_need_two_people_and_a_mate(label: list[int], found: str) -> None:
    with pytest.raises(InputError, match=f"two people, one of them with two images: found {found}") as caught:
        triplet_batches(np.array(label, dtype=np.int64), 4, np.random.default_rng(0))
    assert "\n" not in str(caught.value)
