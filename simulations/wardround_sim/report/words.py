"""Plain language for clinicians: sentences, labels and numbers as the report prints them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wardround_sim.results import ALL, TWO_CLASS, Auc, Results, SiteResults

Tone = Literal["good", "plain", "caution"]
MAXIMUM_NAMES = 6
_MANY_COMPARISONS = 10

ARM_LABELS = {
    "federated": "Shared model",
    "local": "Each hospital alone",
    "pooled": "All images in one place",
    "fine_tuned": "Shared, tuned locally",
}
ARM_MEANINGS = {
    "federated": "one model trained by all hospitals together; no image left its hospital",
    "local": "each hospital trains on its own images only",
    "pooled": "what training would give if every image could be copied to one place; a yardstick, "
    "not something hospitals are asked to do",
    "fine_tuned": "the shared model after a short further training on the hospital's own images; "
    "this copy stays there and is not the shared model",
}
SCOPE_LABELS = {ALL: "All hospitals", TWO_CLASS: "Those with both classes"}
PHASE_LABELS = {
    "generate": "Generating the archives",
    "prepare": "Reading the archives",
    "train": "Training, and handing out the model",
    "share": "Secure sum: exchanging keys and key shares",
    "masked": "Secure sum: masked vectors",
    "consistency": "Secure sum: agreeing on who took part",
    "unmask": "Secure sum: removing the masks from the sum",
    "evaluate": "Watching and testing the model",
    "baselines": "Training the comparisons",
    "score": "Reading the test images with every model",
}
WORK_LABELS = {
    "prepare": "Reading the archive",
    "train": "Training leg",
    "training": "of it, training alone",
    "share": "Key shares",
    "masked": "Masking",
    "consistency": "Agreeing",
    "unmask": "Unmasking",
    "evaluate": "Evaluating",
}
SPLITS = ("train", "validation", "test")
GLOSSARY = (
    (
        "AUC",
        "Area under the ROC curve. Take one image with the finding and one without: the AUC is the "
        "chance that the model gives the first the higher score. 1.0 is perfect, 0.5 is guessing.",
    ),
    (
        "Confidence interval",
        "The test images are a sample. If the test were repeated with other patients, 95 of 100 "
        "such intervals would hold the true value. Few test images make it wide.",
    ),
    (
        "ROC curve",
        "Sensitivity against false alarms (1 - specificity) for every possible cut-off of the "
        "model's score. The closer to the upper left corner, the better.",
    ),
    (
        "Calibration",
        "Of the images given a probability of 80 %, about 80 in 100 should have the finding. The "
        "calibration error is the average gap between what was said and what was so.",
    ),
    (
        "Training, validation and test images",
        "Every patient belongs to one of the three. The model learns from the first, its progress "
        "is watched on the second, and the results come from the third, used once at the end.",
    ),
    (
        "Secure sum",
        "Each hospital adds random numbers to what it sends. The random numbers of all hospitals "
        "cancel out only when everything is added up, so the total can be read but no single "
        "hospital's part of it.",
    ),
    (
        "Round",
        "One exchange: hospitals train for a little while, the secure sum is opened, and everyone "
        "continues from the new shared model. A void round changes nothing.",
    ),
    (
        "Fine-tuning",
        "A short further training of the shared model on one hospital's images, for use there.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One finding and how it should strike the reader."""

    text: str
    """The sentence."""
    tone: Tone = "plain"
    """``good``, ``plain`` or ``caution``; shown by a mark as well as a colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The shared model against another arm on the same test images."""

    difference: float
    """AUC of the shared model minus AUC of the other arm."""
    within: bool
    """Whether one AUC lies inside the other's 95 % interval: too close to tell apart."""

    @property
    def direction(self) -> Literal["higher", "lower", "level"]:
        """Which way the difference goes as it is printed, to three decimals."""
        if abs(self.difference) < 0.0005:
            return "level"
        return "higher" if self.difference > 0 else "lower"


def compare(federated: Auc, other: Auc) -> Comparison:
    """Compares two AUCs by their difference and by whether the intervals hold it.

    A rule of thumb, not a test: both models are tried on the same patients, so intervals that
    merely overlap would call too many real differences chance.
    """
    ours = federated.low <= other.auc <= federated.high
    theirs = other.low <= federated.auc <= other.high
    return Comparison(difference=federated.auc - other.auc, within=ours or theirs)


def describe_comparison(comparison: Comparison) -> str:
    """A table cell: signed difference, and whether it lies within the intervals."""
    if comparison.direction == "level":
        return "0.000, level"
    place = "within" if comparison.within else "beyond"
    return f"{format_signed(comparison.difference)}, {place} intervals"


def headline(results: Results) -> str:
    """The main result in one sentence."""
    found = results.auc.get("federated", {}).get(ALL)
    negative, positive = results.study.classes
    hospitals = count_of(len(results.sites), "hospital")
    if found is None:
        return (
            f"{hospitals} trained one shared model, but its accuracy could not be computed: the "
            f"test images do not hold both {negative} and {positive}, or it was not tested."
        )
    images = format_count(found.positives + found.negatives)
    return (
        f"{hospitals} trained one shared model without moving an image. On {images} test images "
        f"of patients it had never seen, it told {positive} from {negative} with an AUC of "
        f"{format_auc(found.auc)} (95 % interval {format_interval(found)})."
    )


def findings(results: Results) -> list[Sentence]:
    """What a reader should take away, favourable or not."""
    return [
        *_against_pooled(results),
        *_against_alone(results),
        *_against_fine_tuned(results),
        *_one_class(results),
    ]


def warnings_at_top(results: Results) -> list[str]:
    """Sentences that must stand above every number."""
    said = list(results.warnings)
    rounds = results.rounds
    if results.status != "complete":
        reason = results.reason.strip().rstrip(".") or "no reason was recorded"
        said.insert(
            0,
            f"This run ended short, after {rounds.completed} of {rounds.planned} rounds: {reason}. "
            "The numbers below describe the model as it was then.",
        )
    if rounds.void:
        verb = "was" if rounds.void == 1 else "were"
        said.append(
            f"{count_of(rounds.void, 'training round')} {verb} void: too few hospitals contributed "
            "or a check failed. A void round leaves the model as it was."
        )
    return said


def _against_pooled(results: Results) -> list[Sentence]:
    federated = results.auc.get("federated", {}).get(ALL)
    pooled = results.auc.get("pooled", {}).get(ALL)
    if federated is None or pooled is None:
        return []
    found = compare(federated, pooled)
    start = (
        f"With all images copied to one place, the same training gives {format_auc(pooled.auc)} "
        f"({format_interval(pooled)}). The shared model is "
    )
    if found.direction == "level":
        return [Sentence(text=f"{start}level with it.", tone="good")]
    tone: Tone = "good" if found.direction == "higher" else "plain" if found.within else "caution"
    return [
        Sentence(
            text=f"{start}{abs(found.difference):.3f} {found.direction}; {_chance(found)}.",
            tone=tone,
        )
    ]


def _against_alone(results: Results) -> list[Sentence]:
    pairs = _pairs(results, "local")
    if not pairs:
        return []
    lower = {s: c for s, c in pairs.items() if c.direction == "lower"}
    start = f"Against each hospital's own model, at the {count_of(len(pairs), 'hospital')} where "
    start += "both can be compared: the shared model is "
    if not lower:
        return [Sentence(text=f"{start}at least as good at every one.", tone="good")]
    beyond = [site for site, c in lower.items() if not c.within]
    ordered = sorted(lower, key=lambda site: lower[site].difference)
    named = join_names([f"{s} ({abs(lower[s].difference):.3f} lower)" for s in ordered])
    text = f"{start}at least as good at {len(pairs) - len(lower)}, and lower at {named}. "
    if beyond:
        text += f"Chance alone is an unlikely explanation at {join_names(beyond)}"
        many = len(pairs) >= _MANY_COMPARISONS
        text += ", though among so many hospitals a few such gaps are expected." if many else "."
    else:
        text += "All of these gaps lie within the 95 % intervals, so chance could explain them."
    return [Sentence(text=text, tone="caution")]


def _against_fine_tuned(results: Results) -> list[Sentence]:
    pairs = _pairs(results, "fine_tuned")
    if not pairs:
        return []
    gained = sum(c.direction == "lower" for c in pairs.values())
    text = (
        "A short further training of the shared model at each hospital, on its own images, raises "
        f"its AUC there at {gained} of {len(pairs)}. Those copies are a column of their own and "
        "are not the shared model."
    )
    return [Sentence(text=text)]


def _one_class(results: Results) -> list[Sentence]:
    found = [site.site for site in results.sites if has_one_class(site)]
    if not found:
        return []
    which = "its test images hold" if len(found) == 1 else "their test images hold"
    return [
        Sentence(
            text=f"{join_names(found)}: {which} one class only, so no AUC is defined there. "
            "These images count in training and in the result over all hospitals."
        )
    ]


def _pairs(results: Results, arm: str) -> dict[str, Comparison]:
    federated, other = results.auc.get("federated", {}), results.auc.get(arm, {})
    found: dict[str, Comparison] = {}
    for site in results.site_names:
        ours, theirs = federated.get(site), other.get(site)
        if ours is not None and theirs is not None:
            found[site] = compare(ours, theirs)
    return found


def _chance(comparison: Comparison) -> str:
    if comparison.within:
        return "the gap lies within the 95 % intervals, so chance could explain it"
    return "the gap lies beyond the 95 % intervals, so chance alone is an unlikely explanation"


def has_one_class(site: SiteResults) -> bool:
    """Whether a site's test examples lack a class, so that an AUC is not defined."""
    return min(site.test.negative, site.test.positive) == 0


def explain_missing_auc(results: Results, scope: str) -> str:
    """Why there is no AUC for ``scope``."""
    one_class = any(site.site == scope and has_one_class(site) for site in results.sites)
    return "one class only, AUC not defined" if one_class else "not computed"


def join_names(names: Sequence[str]) -> str:
    """``a, b and c``; past six, the number of the others."""
    if len(names) > MAXIMUM_NAMES:
        return f"{', '.join(names[:MAXIMUM_NAMES])} and {len(names) - MAXIMUM_NAMES} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def count_of(number: int, noun: str) -> str:
    """``1 hospital``, ``2 hospitals``."""
    return f"{format_count(number)} {noun}{'' if number == 1 else 's'}"


def format_count(number: int | str) -> str:
    """A whole number with thousands separated; text such as ``<5`` as it is."""
    return number if isinstance(number, str) else f"{number:,}"


def format_auc(value: float) -> str:
    """Three decimals."""
    return f"{value:.3f}"


def format_interval(auc: Auc) -> str:
    """``0.881 to 0.934``."""
    return f"{format_auc(auc.low)} to {format_auc(auc.high)}"


def format_signed(value: float) -> str:
    """Three decimals with a typographic sign."""
    return f"{value:+.3f}".replace("-", "\u2212")


def format_bytes(number: int) -> str:
    """Decimal units, three figures: ``28.0 MB``."""
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    if unit == "B":
        return f"{number} B"
    return f"{value:.3g} {unit}" if value >= 100 else f"{value:.{2 - (value >= 10)}f} {unit}"


def format_seconds(seconds: float) -> str:
    """``0.42 s``, ``12.3 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
