"""Metrics as sums: what a site counts, so that only the total over sites is ever opened.

A site encodes its evaluation as non-negative integers: cases, the sum of losses, the confusion
table at 0.5, and one score histogram for each class. Added up over sites (behind masks) they give
loss, AUC, sensitivity, specificity, calibration and ROC of all cases together, and nothing of one
site. Each word has a declared maximum such that ``maximum_sites`` of them stay below 2^31; whatever
exceeds it is refused at the site, never wrapped or clipped.

What rounding costs:
    loss         each case's loss is rounded to 1/65536, so the mean is within 1/131072. The sum
                 travels as two words, because one would overflow at a few hundred cases.
    AUC          ties within a bin count half. The error is at most
                 sum_b positives_b * negatives_b / (2 * positives * negatives), reported as
                 ``auc_tolerance``. Bins are 1/128 wide in the middle and halve with each octave
                 below 1/16 and above 15/16, so that confident models keep their order.
    calibration  a case counts as its bin's centre, so the expected calibration error (ECE) over 16
                 equal bins is within 1/256.
Bin edges are dyadic, hence exact in binary floating point: 0.5 is positive everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wardround_common.errors import PolicyError, ProtocolError

RING_LIMIT = (1 << 31) - 1
LOSS_SCALE = 1 << 16
"""Units of the fixed-point loss in one nat."""
MAXIMUM_LOSS = 64
"""Largest loss of one case, nats; float64 cross-entropy ends near 36."""
RELIABILITY_BINS = 16

_PER_OCTAVE = 8
_OCTAVES = 12


def _edges() -> NDArray[np.float64]:
    octaves = 2.0 ** -np.arange(4 + _OCTAVES, 4, -1)
    parts = 1 + np.arange(_PER_OCTAVE) / _PER_OCTAVE
    tail = np.concatenate(([0.0], np.outer(octaves, parts).ravel()))
    middle = np.arange(8, 121) / 128
    return np.concatenate((tail, middle, 1 - tail[::-1]))


EDGES = _edges()
"""Edges of the score histograms, float64, shape (BINS + 1,), from 0 to 1."""
BINS = EDGES.size - 1
_CENTRES = (EDGES[:-1] + EDGES[1:]) / 2
_AT_HALF = int(np.searchsorted(EDGES, 0.5))
_RELIABILITY_OF_BIN = (_CENTRES * RELIABILITY_BINS).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Slot:
    """A stretch of words that share one meaning and one range."""

    name: str
    size: int
    """Number of words."""
    limit: int
    """Largest value one site may put into each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricLayout:
    """Which word means what, and how large it may be.

    Raises:
        ValueError: The words of ``maximum_sites`` sites could overflow the ring.
    """

    maximum_sites: int
    """n_max: most sites whose words are ever added."""
    maximum_cases: int = 500_000
    """Most cases one site may evaluate at once."""

    def __post_init__(self) -> None:
        if self.maximum_sites < 1 or self.maximum_cases < 1:
            raise ValueError("maximum_sites, maximum_cases: expected 1 or more")
        worst = self.maximum_sites * max(slot.limit for slot in self.slots)
        if worst > RING_LIMIT:
            raise ValueError(
                f"maximum_cases: got {self.maximum_cases}, expected at most "
                f"{RING_LIMIT // self.maximum_sites // MAXIMUM_LOSS} for {self.maximum_sites} sites"
            )

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The words in their order."""
        cases = self.maximum_cases
        return (
            Slot("count", 1, cases),
            Slot("loss_high", 1, cases * MAXIMUM_LOSS),
            Slot("loss_low", 1, LOSS_SCALE - 1),
            Slot("confusion", 4, cases),
            Slot("negatives", BINS, cases),
            Slot("positives", BINS, cases),
        )

    @property
    def size(self) -> int:
        """Number of words."""
        return sum(slot.size for slot in self.slots)

    @property
    def limits(self) -> NDArray[np.int64]:
        """Largest value of each word for one site, int64, shape (size,)."""
        return np.concatenate([np.full(slot.size, slot.limit, np.int64) for slot in self.slots])


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Cases by label and answer at the threshold 0.5."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityPoint:
    """One of the equal bins of predicted probability."""

    predicted: float
    """Mean predicted probability, from bin centres."""
    observed: float
    """Part of the cases that are positive."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What an opened sum says; None where it says nothing, such as an AUC of one class."""

    count: int
    loss: float | None
    """Mean loss of a case, nats."""
    confusion: Confusion
    sensitivity: float | None
    specificity: float | None
    auc: float | None
    auc_tolerance: float | None
    """Most that ``auc`` can differ from the AUC of the unbinned scores."""
    ece: float | None
    """Expected calibration error, Naeini et al. 2015."""
    reliability: tuple[ReliabilityPoint, ...]
    """Bins that hold a case, by rising probability."""
    roc: tuple[tuple[float, float], ...]
    """(1 - specificity, sensitivity), both rising from 0 to 1; empty with one class."""


def encode(
    layout: MetricLayout, probabilities: ArrayLike, labels: ArrayLike, losses: ArrayLike
) -> NDArray[np.int64]:
    """Counts one site's evaluation.

    Args:
        layout: The study's layout.
        probabilities: Probability of the positive class, shape (n,), 0 to 1.
        labels: 0 or 1, shape (n,).
        losses: Loss of each case in nats, shape (n,), 0 to 64.

    Returns:
        int64, shape (layout.size,), each 0 to its limit.

    Raises:
        PolicyError: There are too many cases, or a value is out of range or not finite.
        ValueError: Shapes do not fit, or a label is neither 0 nor 1.
    """
    scores, positive = _scores_and_labels(probabilities, labels)
    nats = np.asarray(losses, np.float64)
    if nats.shape != scores.shape:
        raise ValueError(f"losses: got shape {nats.shape}, expected {scores.shape}")
    if scores.size > layout.maximum_cases:
        got, limit = scores.size, layout.maximum_cases
        raise PolicyError(f"evaluation: got {got} cases, expected at most {limit}; evaluate fewer")
    for name, values, limit in (("probabilities", scores, 1), ("losses", nats, MAXIMUM_LOSS)):
        if not np.all((values >= 0) & (values <= limit)):  # also false for NaN
            raise PolicyError(f"{name}: got one outside 0 to {limit}; the model has diverged")
    loss = int(np.rint(nats * LOSS_SCALE).astype(np.int64).sum())
    bins = np.minimum(np.searchsorted(EDGES, scores, side="right") - 1, BINS - 1)
    histograms = [np.bincount(bins[positive == k], minlength=BINS) for k in (False, True)]
    said = scores >= 0.5
    confusion = [np.sum(said & positive), np.sum(said & ~positive)]
    confusion += [np.sum(~said & ~positive), np.sum(~said & positive)]
    head = [scores.size, loss // LOSS_SCALE, loss % LOSS_SCALE, *confusion]
    return np.concatenate((np.array(head, np.int64), *histograms)).astype(np.int64)


def decode(layout: MetricLayout, words: NDArray[np.integer]) -> Metrics:
    """Turns the sum of the sites' words into metrics of all their cases together.

    Args:
        layout: The layout the sites used.
        words: Sum of at most ``layout.maximum_sites`` results of `encode`, shape (layout.size,).

    Raises:
        ProtocolError: The words contradict their ranges or each other; some site sent garbage.
        ValueError: The shape or type is wrong.
    """
    if words.shape != (layout.size,) or words.dtype.kind not in "iu":
        raise ValueError(f"words: got {words.dtype} {words.shape}, expected ({layout.size},)")
    if np.any(words < 0) or np.any(words > layout.limits * layout.maximum_sites):
        raise ProtocolError("metrics: got a word outside its declared range; the sum is void")
    total = words.astype(np.int64)
    count, loss = int(total[0]), int(total[1]) * LOSS_SCALE + int(total[2])
    counts = [int(word) for word in total[3:7]]
    negatives, positives = total[7 : 7 + BINS], total[7 + BINS :]
    _require_consistent(count, loss, counts, negatives, positives)
    true_positives, false_positives, true_negatives, false_negatives = counts
    auc, tolerance = _binned_auc(negatives, positives)
    ece, reliability = _calibration(negatives, positives)
    return Metrics(
        count=count,
        loss=loss / LOSS_SCALE / count if count else None,
        confusion=Confusion(
            true_positives=true_positives,
            false_positives=false_positives,
            true_negatives=true_negatives,
            false_negatives=false_negatives,
        ),
        sensitivity=_ratio(true_positives, true_positives + false_negatives),
        specificity=_ratio(true_negatives, true_negatives + false_positives),
        auc=auc,
        auc_tolerance=tolerance,
        ece=ece,
        reliability=reliability,
        roc=_roc(negatives, positives),
    )


def _require_consistent(
    count: int,
    loss: int,
    confusion: list[int],
    negatives: NDArray[np.int64],
    positives: NDArray[np.int64],
) -> None:
    low, high = slice(0, _AT_HALF), slice(_AT_HALF, BINS)
    parts = ((positives, high), (negatives, high), (negatives, low), (positives, low))
    binned = [int(histogram[part].sum()) for histogram, part in parts]
    if binned != confusion or sum(confusion) != count or loss > count * MAXIMUM_LOSS * LOSS_SCALE:
        raise ProtocolError("metrics: got counts that contradict each other; the sum is void")


def _scores_and_labels(
    scores: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, truth = np.asarray(scores, np.float64), np.asarray(labels)
    if values.ndim != 1 or truth.shape != values.shape:
        raise ValueError(f"labels: got shape {truth.shape} for scores of shape {values.shape}")
    if not np.all((truth == 0) | (truth == 1)):
        raise ValueError("labels: got one that is neither 0 nor 1")
    return values, truth == 1


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _binned_auc(
    negatives: NDArray[np.int64], positives: NDArray[np.int64]
) -> tuple[float | None, float | None]:
    pairs = int(negatives.sum()) * int(positives.sum())
    if pairs == 0:
        return None, None
    below = twice_won = tied = 0
    for negative, positive in zip(negatives.tolist(), positives.tolist(), strict=True):
        twice_won += positive * (2 * below + negative)
        tied += positive * negative
        below += negative
    return twice_won / (2 * pairs), tied / (2 * pairs)


def _calibration(
    negatives: NDArray[np.int64], positives: NDArray[np.int64]
) -> tuple[float | None, tuple[ReliabilityPoint, ...]]:
    cases = (negatives + positives).astype(np.float64)
    points, error = [], 0.0
    for part in range(RELIABILITY_BINS):
        chosen = part == _RELIABILITY_OF_BIN
        count = int(cases[chosen].sum())
        if count:
            predicted = float(np.sum(cases[chosen] * _CENTRES[chosen])) / count
            observed = int(positives[chosen].sum()) / count
            points.append(ReliabilityPoint(predicted=predicted, observed=observed, count=count))
            error += count * abs(predicted - observed)
    total = int(cases.sum())
    return (error / total if total else None), tuple(points)


def _roc(
    negatives: NDArray[np.int64], positives: NDArray[np.int64]
) -> tuple[tuple[float, float], ...]:
    if not (negatives.sum() and positives.sum()):
        return ()
    false = np.concatenate(([0], np.cumsum(negatives[::-1]))) / negatives.sum()
    true = np.concatenate(([0], np.cumsum(positives[::-1]))) / positives.sum()
    return tuple(dict.fromkeys(zip(false.tolist(), true.tolist(), strict=True)))
