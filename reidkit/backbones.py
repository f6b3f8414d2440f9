"""Backbones: AlexNet and the ResNet family as (feature map, channels, stride), random or pretrained."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from .errors import InputError, choose

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
BACKBONES = ("alexnet", *RESNETS)
# What torchvision publishes: the first weights, which the papers of 2017 to 2020 started from; and later ones, of
# another training, which transfer otherwise
PUBLISHED = {"torchvision": "IMAGENET1K_V1", "torchvision-v2": "IMAGENET1K_V2"}
BUNDLED = Path(__file__).parent / "weights"  # a finished run of the system `start` for each backbone
SMALL = 24  # places of a map, up to which a CPU multiplies bf16 windows sooner than it convolves them


def through(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """What comes out of layers, one after another."""
    for layer in layers:
        x = layer(x)
    return x


class Backbone(nn.Module):
    """Images (B, 3, H, W) to a feature map (B, channels, H / stride, W / stride).

    A ResNet pads its rim and rounds up; AlexNet does not: its map has (H - 31) // stride rows.

    `stages` are the steps in order, by the names papers use (`stem`, `layer1` ... or `conv1` ...), so that a system
    can share some of them and copy the rest. `top` are AlexNet's two fully connected layers, `fc6` and `fc7`, maps to
    (B, 4096): no part of the backbone, but of a system that takes them.
    """

    def __init__(
        self, name: str, stages: nn.ModuleDict, channels: int, stride: int, top: Mapping[str, nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.top = dict(top or {})  # a plain dict, or torch would count them in
        self.name = name
        self.stages = stages
        self.channels = channels
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        return through(self.stages.values(), images)  # (B, Z, H / stride, W / stride)


class Convolution(nn.Conv2d):
    """A square convolution that a CPU computes as a matrix product in bf16 where its map is small.

    On the maps of small images oneDNN's bf16 convolutions spend more time on rearranging weights than on multiplying
    them, most of all in the gradient of the weights. With the windows copied side by side and multiplied a step is
    shorter (`benchmarks/steps.py --profile quick`, with and without `--small 0`). The sums are the same, rounded
    elsewhere: the gradient of the input is a sum over the windows in bf16.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, h, w)."""
        (kernel, *_), (stride, *_) = self.kernel_size, self.stride
        pad = int(self.padding[0])
        height, width = ((n + 2 * pad - kernel) // stride + 1 for n in input.shape[2:])
        native = input.device.type != "cpu" or not torch.is_autocast_enabled("cpu")
        if native or kernel == 1 or height * width > SMALL:
            return super().forward(input)
        padded = F.pad(input.permute(0, 2, 3, 1), (0, 0, pad, pad, pad, pad))
        down, across = stride * (height - 1) + 1, stride * (width - 1) + 1
        corners = [(i, j) for i in range(kernel) for j in range(kernel)]
        windows = torch.cat([padded[:, i : i + down : stride, j : j + across : stride] for i, j in corners], -1)
        rows = self.weight.permute(0, 2, 3, 1).flatten(1)  # (out, kernel * kernel * in), in memory already so
        return F.linear(windows, rows, self.bias).permute(0, 3, 1, 2)


def convolve_small_maps(network: nn.Module) -> None:
    """Put a `Convolution` in the place of every convolution of a network, with the very same parameters.

    For bf16 on a CPU; everything else is computed as before, and the names in the state dict stay.

    Args:
        network: whose convolutions are square, without groups or holes.
    """
    for parent in list(network.modules()):
        for name, old in parent.named_children():
            if isinstance(old, nn.Conv2d):
                size, stride, pad = old.kernel_size[0], old.stride[0], old.padding[0]
                # on "meta" a layer has no numbers, so none is drawn from the seed
                new = Convolution(old.in_channels, old.out_channels, size, stride, pad, device="meta")
                new.weight, new.bias = old.weight, old.bias
                setattr(parent, name, new)


def build(name: str = "resnet18", pretrained: str = "none", last_stride: int = 2) -> Backbone:
    """A backbone without its classifier.

    Args:
        name: one of BACKBONES.
        pretrained: "none" for random weights; "synthetic" for the bundled start; "torchvision" for its first ImageNet
            weights, those that papers of 2017 to 2020 started from, "torchvision-v2" for its second (downloaded once by
            torchvision, which checks their hash); or the path of a local .safetensors or .pth file of the same
            network; or the folder of a finished run, whose backbone is taken over.
        last_stride: stride of a ResNet's last stage; 1 doubles the map's height and width (Sun et al. 2018).
    Raises:
        InputError: unknown name, weights that cannot be downloaded, read or do not fit.
    """
    choose(name, BACKBONES, "backbone")
    if last_stride not in (1, 2):
        raise InputError(f"last_stride is {last_stride}: a ResNet's last stage has stride 1 or 2.")
    network = getattr(models, name)(weights=None)
    convolve_small_maps(network)
    folder = BUNDLED / name if pretrained == "synthetic" else Path(pretrained).expanduser()
    of_run = pretrained not in ("none", *PUBLISHED) and folder.is_dir()
    if pretrained != "none" and not of_run:
        network.load_state_dict(weights(name, pretrained), strict=True)
    backbone = alexnet(network) if name == "alexnet" else resnet(name, network, last_stride)
    if of_run:
        take_over(backbone, folder)
    return backbone


def take_over(backbone: Backbone, run: Path) -> None:
    """Give a backbone the weights of a finished run's; InputError where that run has no such backbone."""
    try:
        state = load_file(run / "model.safetensors").items()
        backbone.load_state_dict({k.removeprefix("backbone."): v for k, v in state if k.startswith("backbone.")})
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{run} holds no run with a {backbone.name} to take over ({reason}): give the folder of a finished run."
        ) from None


def alexnet(network: models.AlexNet) -> Backbone:
    """AlexNet's five convolutions, each with its ReLU and pooling, and its two layers above them.

    These, each with its dropout and ReLU, read 6 x 6 places, however many came.
    """
    features, classifier = network.features, network.classifier
    starts = [i for i, layer in enumerate(features) if isinstance(layer, nn.Conv2d)]
    steps = enumerate(pairwise([*starts, len(features)]), start=1)
    stages = nn.ModuleDict({f"conv{n}": features[first:end] for n, (first, end) in steps})
    top = {"fc6": nn.Sequential(network.avgpool, nn.Flatten(), *classifier[:3]), "fc7": nn.Sequential(*classifier[3:6])}
    return Backbone("alexnet", stages, channels=256, stride=32, top=top)


def resnet(name: str, network: models.ResNet, last_stride: int) -> Backbone:
    """A ResNet's stem and four stages; `last_stride` of 1 opens the last one."""
    if last_stride == 1:
        open_last_stage(network.layer4)
    stages = {"stem": nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)}
    stages |= {f"layer{i}": network.get_submodule(f"layer{i}") for i in range(1, 5)}
    return Backbone(name, nn.ModuleDict(stages), network.fc.in_features, 16 * last_stride)


def open_last_stage(layer4: nn.Module) -> None:
    """Take the down-sampling out of a ResNet's last stage; the weights stay valid."""
    for module in layer4.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)


def weights(name: str, source: str) -> dict[str, Tensor]:
    """The state dict of torchvision's network `name`: one of PUBLISHED, or a local file."""
    if source in PUBLISHED:
        there = models.get_model_weights(name).__members__
        if PUBLISHED[source] not in there:
            raise InputError(f"torchvision has no second ImageNet weights of {name}: give pretrained='torchvision'.")
        try:
            state = there[PUBLISHED[source]].get_state_dict(progress=True, check_hash=True)
        except (URLError, OSError, RuntimeError) as error:
            cache = Path(os.environ.get("TORCH_HOME", "~/.cache/torch")) / "hub" / "checkpoints"
            raise InputError(
                f"the ImageNet weights of {name} could not be downloaded ({error}): connect once, or put the file "
                f"into {cache} or anywhere and give its path as pretrained, or train from scratch with "
                "pretrained=none."
            ) from None
        return dict(state)
    path = Path(source).expanduser()
    if not path.is_file():
        raise InputError(
            f"pretrained weights {str(path)!r} are not there: give 'none', 'torchvision', 'torchvision-v2' "
            "or the path of an existing .safetensors or .pth file."
        )
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise InputError(f"{path} holds no readable weights ({type(error).__name__}): download it again.") from None
    except Exception as error:  # weights_only refuses anything that is more than tensors
        raise InputError(
            f"{path} is refused, it holds more than tensors ({type(error).__name__}): save the state dict alone, "
            "best as .safetensors."
        ) from None
    expected = getattr(models, name)(weights=None).state_dict()
    state = dict(state) if isinstance(state, dict) else {}
    # the classifier is thrown away in any case, so files without one, or with another number of classes, will do;
    # of AlexNet's, two layers of three may be used
    for key in (key for key in expected if key.startswith(("classifier.", "fc."))):
        if key not in state or state[key].shape != expected[key].shape:
            state[key] = expected[key]
    wrong = sorted(set(expected) ^ set(state)) or [k for k in expected if expected[k].shape != state[k].shape]
    if wrong:
        raise InputError(
            f"{path} does not hold a {name}: {len(wrong)} tensors are missing, extra or of another shape, "
            f"{wrong[0]!r} for one."
        )
    return state
