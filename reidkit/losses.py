"""Losses as pure functions: one value a sample, the reduction is the caller's.

Shape letters: B batch, D embedding, C classes or identities, T attribute tasks, A binary attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .attributes import Task
from .distances import METRICS
from .errors import InputError, choose

KINDS = ("cross_entropy", "weighted", "focal", "alpha_focal")
MINING = ("hard", "hard4", "random4", "all")
REDUCTIONS = ("mean", "sum")


def at_least_float32(x: Tensor) -> Tensor:
    """bf16 and fp16 as float32, in which losses are computed; float32 and float64 as they are."""
    return x.float() if x.element_size() < 4 else x


# Classes and attributes ---------------------------------------------------------------------------------


def cross_entropy(logits: Tensor, label: Tensor, *, weight: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Softmax cross-entropy of each sample; a missing label (-1) costs nothing.

        L_i = - w_(label_i) sum_c y_ic log softmax(logits_i)_c,   y = (1 - smoothing) onehot + smoothing / C

    Label smoothing: Szegedy et al. 2016, as in the "bag of tricks" of Luo et al. 2019. The weight is that of the
    sample's own class, also under smoothing; torch weighs each class of the sum by itself.

    Args:
        logits: (B, C).
        label: (B,) int64, -1 for missing.
        weight: (C,) factor of the samples of each class; None: 1 for all.
        smoothing: share given to all classes, 0 to 1.
    Returns:
        (B,) in nats, 0 where the label is missing.
    """
    logits = at_least_float32(logits)
    loss = F.cross_entropy(logits, label, ignore_index=-1, label_smoothing=smoothing, reduction="none")
    if weight is None:
        return loss
    if weight.shape != logits.shape[1:]:
        raise InputError(f"weight has the shape {tuple(weight.shape)}: give one for each of {logits.shape[1]} classes.")
    return loss * weight.to(loss)[label.clamp(min=0)]


def focal(logits: Tensor, label: Tensor, *, gamma: float = 2.0, weight: Tensor | None = None) -> Tensor:
    """Focal loss of each sample: cross-entropy that turns away from what is already answered well.

        L_i = - w_(label_i) (1 - p_i)^gamma log p_i,   p_i = softmax(logits_i)_(label_i)

    Lin et al. 2017, "Focal Loss for Dense Object Detection", equations 4 and, with a weight, 5. gamma = 0 is
    `cross_entropy`. Both factors come from log p, so that logits of any size neither overflow nor cancel.

    Args:
        logits: (B, C).
        label: (B,) int64, -1 for missing.
        gamma: 0 or more, without a unit.
        weight: (C,) or None, as in `cross_entropy`.
    Returns:
        (B,) in nats, 0 where the label is missing.
    """
    surprise = cross_entropy(logits, label)  # (B,) -log p
    # 1 - p; kept off 0, where the power has no finite derivative for gamma below 1 (inf times 0 would be NaN)
    missed = (-torch.expm1(-surprise)).clamp(min=torch.finfo(surprise.dtype).tiny)
    return missed**gamma * cross_entropy(logits, label, weight=weight)


def adjust(logits: Tensor, weight: Tensor, tau: float = 1.0) -> Tensor:
    """Lower the logits of rare classes by the logarithm of their weight, for the loss of a training to see.

        f_c - tau log w_c = f_c + tau log prior_c + const.

    Logit adjustment (Menon et al. 2021, "Long-tail learning via logit adjustment", equation 10): with cross-entropy
    on these, the plain logits answer as if all classes were equally common (tau = 1) or half-way to it (1/2). Where
    every training image is answered well, a weighted loss has no effect any more; this still asks for a larger
    margin of rare classes.

    Args:
        logits: (B, C).
        weight: (C,), inverse frequencies up to a factor. A 0, for a class that never occurs, counts as the commonest.
        tau: strength, 0 for none.
    """
    commonest = torch.where(weight > 0, weight, weight.max()).min()
    known = torch.where(weight > 0, weight, commonest).clamp(min=1e-12)  # none at all: a task that is never asked
    return at_least_float32(logits) - tau * known.log()


def class_weights(
    counts: Sequence[Sequence[int]], tasks: Sequence[Task], *, absent: float | None = None
) -> list[Tensor]:
    """Inverse relative frequency of every class among the known labels of the training fold, task by task.

        w_c = N_known / n_c

    The "weights" of the two-stage paper (001, section 3.1.2). Averaged over the training images of a task they
    give the number of its classes that occur, so a weighted loss is larger than a plain one by about that factor.

    Args:
        counts: training images of each class of each task, as `data.class_counts` gives them.
        tasks: the T tasks, named in the error.
        absent: weight of a class that never occurs; None makes it an error. No training image is multiplied by it, an
            image of another fold is. The logit of the class still stands in the denominator of every softmax, so
            training pushes it down.
    Returns:
        T tensors (C_t,) float32, each 1 or more where the class occurs.
    Raises:
        InputError: a class, or a whole task, never occurs, which has no inverse frequency, and absent is None.
    """
    lacking = []
    for task, count in zip(tasks, counts, strict=True):
        never = [cls for cls, n in zip(task.classes, count, strict=True) if n == 0]
        whole = len(never) == len(task.classes)
        lacking += [f"{task.name} (any class)"] if whole else [f"{task.name} {cls!r}" for cls in never]
    if lacking and absent is None:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise InputError(
            f"the training images never show {', '.join(lacking[:3])}{more}, so their inverse frequency is infinite: "
            "train on a fold that shows them, leave those tasks out, use a loss without weights, or give absent=0."
        )
    other = 0.0 if absent is None else absent
    return [torch.tensor([sum(count) / n if n else other for n in count]) for count in counts]


def task_losses(
    logits: Sequence[Tensor],
    labels: Tensor,
    *,
    kind: str = "cross_entropy",
    weights: Sequence[Tensor] | None = None,
    gamma: float = 2.0,
) -> Tensor:
    """Loss of every attribute task: the mean over the images that have its label.

        L_t = 1/N_t sum_(i: label_it known) l(logits_ti, label_it),   N_t = number of those images

    The four losses of the two-stage paper (001, section 3.1.2); its total is their sum over the tasks. A weighted
    mean is divided by N_t and not, as torch does, by the sum of the weights, which would undo part of them.

    Args:
        logits: T tensors (B, C_t).
        labels: (B, T) int64, -1 for missing.
        kind: one of `KINDS`.
        weights: T tensors (C_t,) for "weighted" and "alpha_focal", as from `class_weights`; the others do not read
            them.
        gamma: of the two focal ones.
    Returns:
        (T,) in nats; 0, with a gradient of 0, for a task without a known label in the batch.
    """
    choose(kind, KINDS, "kind")
    used: Sequence[Tensor | None] = [None] * len(logits)
    if kind in ("weighted", "alpha_focal"):
        if weights is None:
            raise InputError(f"the loss {kind!r} needs weights: give those class_weights makes of the training labels.")
        used = weights
    losses = [
        focal(x, y, gamma=gamma, weight=w) if kind.endswith("focal") else cross_entropy(x, y, weight=w)
        for x, y, w in zip(logits, labels.unbind(1), used, strict=True)
    ]
    return torch.stack([loss.sum() for loss in losses]) / (labels >= 0).sum(0).clamp(min=1)


def sigmoid_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of each image, summed over its known columns; a missing one (-1) costs nothing.

        L_i = - sum_(a known) (y_ia log s(logits_ia) + (1 - y_ia) log(1 - s(logits_ia))),   s(x) = 1 / (1 + exp(-x))

    Papers 000 (section II-D) and 003. A sum and not a mean: an image of which little is known weighs little, and
    each known answer weighs the same wherever it stands.

    Args:
        logits: (B, A).
        target: (B, A), 1 yes, 0 no, -1 missing.
    Returns:
        (B,) in nats, 0 where nothing is known.
    """
    logits = at_least_float32(logits)
    loss = F.binary_cross_entropy_with_logits(logits, target.clamp(min=0).to(logits), reduction="none")  # (B, A)
    return loss.masked_fill(target < 0, 0).sum(1)


def part_presence(logits: Tensor, parts: Tensor) -> Tensor:
    """Binary cross-entropy of which body parts stand at each place of a map: mean over places, sum over parts.

    A part stands at a place when it covers 3 % of the place's cell. Where n_p of the batch's n places show a part, its
    yes weighs sqrt(n / n_p), between 1.4 and 22: a bag is at few places.

    Args:
        logits: (B, P, h, w), a map for each part.
        parts: (B, H, W), the part of each pixel, numbers below P.
    Returns:
        (B,) in nats.
    """
    logits = at_least_float32(logits)
    each = F.one_hot(parts.long(), logits.shape[1]).movedim(3, 1).to(logits)  # (B, P, H, W)
    seen = (F.adaptive_avg_pool2d(each, (logits.shape[2], logits.shape[3])) >= 0.03).to(logits)  # (B, P, h, w)
    weight = seen.mean((0, 2, 3)).clamp(0.002, 0.5).rsqrt()[:, None, None]
    loss = F.binary_cross_entropy_with_logits(logits, seen, pos_weight=weight, reduction="none")
    return loss.mean((2, 3)).sum(1)


def uncertain(loss: Tensor, log_variance: Tensor) -> Tensor:
    """Losses of several tasks, weighted by what they leave unexplained (homoscedastic uncertainty).

        L_i / sigma_i^2 + log sigma_i = exp(-s_i) L_i + s_i / 2,   s_i = log sigma_i^2, learnt

    Kendall et al. 2018; paper 002, equation 6. For a fixed L_i the lowest value is at sigma_i^2 = 2 L_i: there the
    gradient of every task is that of 1/2 log L_i, however large L_i is. The value may be negative.

    Args:
        loss: (n,) 0 or more.
        log_variance: (n,) s_i.
    Returns:
        (n,).
    """
    return torch.exp(-log_variance) * at_least_float32(loss) + log_variance / 2


# Distances between images -------------------------------------------------------------------------------


def pairwise_distance(embedding: Tensor, *, distance: str = "euclidean") -> Tensor:
    """Distance between all rows, with a gradient of 0 where two rows are equal.

        euclidean |f_i - f_j|    sqeuclidean |f_i - f_j|^2    cosine 1 - cos(f_i, f_j) = 1/2 |u_i - u_j|^2, u = f / |f|

    Uses differences, not a matrix product: nothing cancels, and mixed precision does not round it.

    Args:
        embedding: (B, D).
        distance: one of `distances.METRICS`.
    Returns:
        (B, B); cosine from 0 to 2, the others in units of the embedding or their square.
    """
    choose(distance, METRICS, "distance")
    embedding = at_least_float32(embedding)
    if distance == "cosine":
        embedding = F.normalize(embedding)
    straight = torch.cdist(embedding, embedding, compute_mode="donot_use_mm_for_euclid_dist")
    if distance == "euclidean":
        return straight
    return straight**2 if distance == "sqeuclidean" else straight**2 / 2


def _pairs(label: Tensor) -> tuple[Tensor, Tensor]:
    """Which pairs show one person twice, an image with itself left out, and which two people; both (B, B) bool."""
    same = label[:, None] == label[None]  # (B, B)
    itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
    return same & ~itself, ~same


def hardest_pairs(embedding: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Find the farthest image of the same person and the nearest of another, for every anchor.

    Masks with infinity rather than reshaping, so that people may have unequal numbers of images in the batch.

    Args:
        embedding: (B, D).
        label: (B,) int64.
    Returns:
        hardest positive distance (B,), -inf without a positive; hardest negative (B,), +inf without a negative.
    """
    distance = pairwise_distance(embedding)  # (B, B)
    positive, negative = _pairs(label)
    return distance.masked_fill(~positive, -torch.inf).amax(1), distance.masked_fill(~negative, torch.inf).amin(1)


def batch_hard_triplet(embedding: Tensor, label: Tensor, *, margin: float | None = 0.3) -> Tensor:
    """Batch-hard triplet loss: every image is an anchor against its hardest positive and hardest negative.

        L_a = max(0, margin + max_p |f_a - f_p| - min_n |f_a - f_n|)
        L_a = log(1 + exp(max_p |f_a - f_p| - min_n |f_a - f_n|))      margin=None, the soft margin

    Hermans et al. 2017, equations 5 and 6. The soft form is a softplus, which does not overflow.

    Args:
        embedding: (B, D).
        label: (B,) int64.
        margin: in units of the distance; None: the soft margin.
    Returns:
        (B,); 0 for an anchor that has no positive or no negative in the batch.
    """
    positive, negative = hardest_pairs(embedding, label)
    lacking = positive.isneginf() | negative.isposinf()
    gap = (positive - negative).masked_fill(lacking, -torch.inf)  # NaN stays NaN: a training that diverged must show
    return F.softplus(gap) if margin is None else F.relu(gap + margin)


def batch_triplets(
    embedding: Tensor,
    label: Tensor,
    *,
    margin: float,
    mining: str = "hard",
    distance: str = "cosine",
    reduction: str = "mean",
) -> Tensor:
    """Triplet loss over many triplets of a batch.

        L_a = sum_(p, n) max(0, margin + D(a, p) - D(a, n)),   divided by N_a, the number of these (p, n), for the mean

    Paper 000, section II, whose formula lacks the hinge; `batch_hard_triplet` has one p an anchor. Every positive p of
    the anchor is taken, with these n of other people:

        hard     the anchor's nearest
        hard4    the four nearest, those of highest loss (Wang and Gupta 2015, the reference of paper 000)
        random4  four drawn at random, from torch's own generator (the first epochs of that reference)
        all      each

    A triplet that is already kept apart counts in N_a with 0: the loss falls to 0 as the batch is learnt.

    Args:
        embedding: (B, D).
        label: (B,) int64.
        margin: in units of the distance.
        mining: one of `MINING`; "all" holds B^3 numbers a few times over, 8 MB each for B = 128.
        distance: one of `distances.METRICS`.
        reduction: over the triplets of an anchor, one of `REDUCTIONS`.
    Returns:
        (B,); 0 for an anchor that has no positive or no negative in the batch.
    """
    choose(mining, MINING, "mining")
    choose(reduction, REDUCTIONS, "reduction")
    apart = pairwise_distance(embedding, distance=distance)  # (B, B)
    positive, negative = _pairs(label)
    to_negative = apart.masked_fill(~negative, torch.inf)  # (B, B)
    if mining == "hard":
        to_negative, negative = to_negative.amin(1, keepdim=True), negative.any(1, keepdim=True)  # (B, 1)
    elif mining != "all":
        # NaN first: a training that diverged must show
        by = torch.rand_like(apart) if mining == "random4" else apart.detach().nan_to_num(-torch.inf)
        order = by.masked_fill(~negative, torch.inf).topk(min(4, len(label)), largest=False).indices  # (B, 4)
        to_negative, negative = to_negative.gather(1, order), negative.gather(1, order)
    valid = positive[:, :, None] & negative[:, None]  # (B, B, 1, 4 or B)
    loss = F.relu(margin + apart[:, :, None] - to_negative[:, None]).masked_fill(~valid, 0)
    total = loss.sum((1, 2))
    return total if reduction == "sum" else total / valid.sum((1, 2)).clamp(min=1)


def count_triplets(label: Tensor, mining: str = "hard") -> Tensor:
    """Count the triplets that `batch_triplets` makes of a batch, a number of no dimension.

    Args:
        label: (B,) int64.
        mining: one of `MINING`.
    """
    choose(mining, MINING, "mining")
    positive, negative = (pairs.sum(1) for pairs in _pairs(label))  # (B,)
    most = {"hard": 1, "hard4": 4, "random4": 4, "all": len(label)}[mining]
    return (positive * negative.clamp(max=most)).sum()


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, *, margin: float = 1.0) -> Tensor:
    """Triplet loss of given triplets on the squared distance.

        L_i = max(0, margin + |a_i - p_i|^2 - |a_i - n_i|^2)

    Schroff et al. 2015, as in the two-stage paper (001, section 3.2.1).

    Args:
        anchor: (B, D).
        positive: (B, D), the same person as each anchor.
        negative: (B, D), another person than each anchor.
        margin: in units of the squared distance.
    Returns:
        (B,).
    """
    anchor, positive, negative = map(at_least_float32, (anchor, positive, negative))
    return F.relu(margin + _squared(anchor - positive) - _squared(anchor - negative))


def _squared(difference: Tensor) -> Tensor:
    """Squared length of each row, (B, D) to (B,)."""
    return difference.square().sum(1)


# Distances to the centres of people ---------------------------------------------------------------------


def half_gaps(centres: Tensor, people: Tensor | None = None) -> Tensor:
    """Half the distance from each person's centre to the nearest other centre: balls of this radius never overlap.

        d_p = 1/2 min_(j != p) |c_p - c_j|

    Paper 004, section 3. A person who is alone has no neighbour: the radius is +inf, nothing lies outside it, and
    `compact` costs nothing.

    Args:
        centres: (C, D).
        people: (B,) int64, whose radius is wanted; None: all. A batch asks for its own people, since all pairs of 751
            people take some 20 times as long.
    Returns:
        (C,) or (B,), without a gradient, in units of the code.
    """
    centres = at_least_float32(centres.detach())
    if people is None:
        people = torch.arange(len(centres), device=centres.device)
    gap = torch.cdist(centres[people], centres, compute_mode="donot_use_mm_for_euclid_dist")  # (B, C)
    return gap.scatter(1, people[:, None], torch.inf).amin(1) / 2


def compact(code: Tensor, label: Tensor, centres: Tensor, radius: Tensor | None = None) -> Tensor:
    """Compact loss: draws codes that lie outside the ball around their own person's centre towards the centre.

        L_i = 1/2 max(0, |I_i - c_p|^2 - d_p^2),   p = label_i

    Paper 004, equation 2. The centres carry no gradient.

    Args:
        code: (B, D).
        label: (B,) int64, row of the centres, -1 for missing.
        centres: (C, D).
        radius: (C,) d_p of every person; None: `half_gaps` of the centres.
    Returns:
        (B,) in units of the squared code, 0 where the label is missing.
    """
    code, centres = at_least_float32(code), at_least_float32(centres.detach())
    person = label.clamp(min=0)
    own = half_gaps(centres, person) if radius is None else at_least_float32(radius.detach())[person]  # (B,)
    outside = F.relu(_squared(code - centres[person]) - own**2)
    return outside.masked_fill(label < 0, 0) / 2


def scatter(code: Tensor, label: Tensor, centres: Tensor) -> Tensor:
    """Scatter loss: half the squared distances to the centres of all OTHER people. It is SUBTRACTED in the total.

        L_i = 1/2 sum_(j != p) |I_i - c_j|^2,   p = label_i
            = 1/2 (C |I_i - m|^2 + sum_j |c_j - m|^2 - |I_i - c_p|^2),   m = mean of the centres

    Paper 004, equation 3. The second line is what is computed: no (B, C, D), no matrix product. It also shows what
    the loss sees of other people: only their mean, from which a code is pushed, and never a near neighbour.

    Nothing bounds it. The total L_SR + beta L_CL - gamma L_SL has no minimum: codes and centres twice as large have
    a scatter four times as large, and the balls of the compact loss grow with them. Even centres that stand still
    hold a code only while beta > (C - 1) gamma: with the paper's weights, up to 50 people (it trains on 57). What
    holds it in practice is a small gamma, few and small steps, and weight decay. Watch the length of the codes.

    Args:
        code: (B, D).
        label: (B,) int64, row of the centres, -1 for missing.
        centres: (C, D), without a gradient.
    Returns:
        (B,) in units of the squared code, 0 where the label is missing and for a person who is alone.
    """
    code, centres = at_least_float32(code), at_least_float32(centres.detach())
    mean = centres.mean(0)  # (D,)
    everyone = len(centres) * _squared(code - mean) + _squared(centres - mean).sum()
    others = everyone - _squared(code - centres[label.clamp(min=0)])
    return others.masked_fill(label < 0, 0) / 2
