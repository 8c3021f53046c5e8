"""What masking costs a site and the coordinator, in processor time of one thread.

Goals are those of the design, for 7 M values. The floor is what the mask streams alone cost: so
many AES-256-GCM streams as long as the vector, n + 1 for a client. Beside it, in the same run:
plain averaging of float32 vectors, and Flower's SecAgg+.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from wardround_common.masking import CHUNK_BYTES, SEED_BYTES, Words, add_masks
from wardround_common.quantise import Segment, VectorPlan, decode, encode
from wardround_common.secagg.coordinator import CoordinatorRound
from wardround_common.secagg.records import Masked
from wardround_common.update import Floats
from wardround_sim.bench import flower_secagg
from wardround_sim.bench.flower_secagg import FlowerNode
from wardround_sim.bench.rows import Row, Spread, ratio
from wardround_sim.bench.secure_sum import Attempt, agree_and_reveal, meet
from wardround_sim.bench.timing import Prepare, interleave

NAME = "masking"
FLOOR, PLAIN, FLOWER = "AES-GCM streams alone", "plain float32 average", "Flower SecAgg+"
MASKS, CLIENT = "wardround: masks", "wardround: quantise + masks"
LEG = "wardround: quantise + leg 2 with checks, SHA-256, signature"
UNMASK, COORDINATOR = "wardround: unmask", "wardround: add all + unmask + read"
UPLOAD = "wardround"
_GOAL_VALUES, _FLOOR_GOAL = 7_000_000, "<= 1.6"
_CLIENT_GOALS_MS = {8: "<= 48", 16: "<= 77", 32: "<= 127"}
_UNMASK_GOALS_MS = {(8, 0): "<= 36", (16, 0): "<= 57", (32, 0): "<= 137", (16, 5): "<= 272"}
_FLOWER_BUDGET_S, _FLOWER_S_A_VALUE = 4.0, 1.2e-8

Seconds = dict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much to measure."""

    values: tuple[int, ...] = (1_000_000, 7_000_000)
    sites: tuple[int, ...] = (4, 8, 16, 32)
    repetitions: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Federation:
    """Sites of one size, with an update that stands for everybody's."""

    plan: VectorPlan
    update: Floats
    counts: NDArray[np.int64]
    nodes: list[FlowerNode]

    @property
    def label(self) -> str:
        values = self.update.size
        size = f"{values // 1_000_000} M" if values >= 1_000_000 else f"{values}"
        return f"{size} values, n = {len(self.nodes)}"

    def quantise(self) -> Words:
        return encode(self.plan, {"weights": self.update}, weight=1.0, counts=self.counts)


def measure(sizes: Sizes, *, on_case: Callable[[str], None]) -> Iterator[Row]:
    """Yields the rows of every size; ``on_case`` is told what is being measured."""
    for values in sizes.values:
        for sites in sizes.sites:
            federation = _make_federation(values, sites)
            on_case(f"client, {federation.label}")
            yield from _client_rows(federation, sizes.repetitions)
            for lost in sorted({0, 1, round(0.3 * sites)}):
                on_case(f"coordinator, {federation.label}, {lost} lost")
                yield from _coordinator_rows(federation, lost, sizes.repetitions)


def _make_federation(values: int, sites: int) -> _Federation:
    weights = Segment(name="weights", size=values, limit=1.0, bounded_norm=True)
    update = np.random.default_rng(1).standard_normal(values, np.float32)
    update *= np.float32(0.5 / np.sqrt(values))
    return _Federation(
        plan=VectorPlan(segments=(weights,), counts=2, maximum_sites=sites),
        update=update,
        counts=np.array([0, 1], np.int64),
        nodes=flower_secagg.make_nodes(sites),
    )


def _client_rows(federation: _Federation, repetitions: int) -> Iterator[Row]:
    sites, length = len(federation.nodes), federation.plan.length
    attempt = meet(sites, vector_length=length)
    name = sorted(attempt.parties)[sites // 2]
    below, above = sites // 2, sites - sites // 2 - 1
    plus = [os.urandom(SEED_BYTES) for _ in range(above + 1)]
    minus = [os.urandom(SEED_BYTES) for _ in range(below)]

    def mask_quantised() -> Callable[[], object]:
        vector = federation.quantise()
        return lambda: add_masks(vector, plus=plus, minus=minus)

    def whole_leg() -> Callable[[], object]:
        mask = attempt.rehearse_mask(name)
        return lambda: mask(federation.quantise())

    ways: dict[str, Prepare] = {
        MASKS: mask_quantised,
        CLIENT: lambda: lambda: add_masks(federation.quantise(), plus=plus, minus=minus),
        LEG: whole_leg,
        FLOOR: lambda: lambda: _encrypt_streams(sites + 1, 4 * length),
        FLOWER: lambda: (
            lambda: flower_secagg.mask_vector(federation.nodes, sites // 2, federation.update)
        ),
    }
    limits = {FLOWER: _flower_repetitions(sites, length, repetitions)}
    seconds = interleave(ways, repetitions=repetitions, at_most=limits)
    case = f"client, {federation.label}"
    goals = _CLIENT_GOALS_MS if length > _GOAL_VALUES else {}
    yield _row(case, MASKS, seconds, against=(FLOOR,))
    yield _row(case, CLIENT, seconds, against=(FLOOR, FLOWER), goal=goals.get(sites, ""))
    yield _row(case, LEG, seconds, against=(FLOWER,))
    for way in (FLOOR, FLOWER):
        yield _row(case, way, seconds)


def _coordinator_rows(federation: _Federation, lost: int, repetitions: int) -> Iterator[Row]:
    sites, length = len(federation.nodes), federation.plan.length
    attempt = meet(sites, vector_length=length)
    empty = copy.deepcopy(attempt.core)
    masked = _contribute(attempt, federation.quantise(), sites - lost)
    small_bytes = attempt.small_bytes + agree_and_reveal(attempt)
    kept, removed = sites - lost, (sites - lost) * (1 + lost)
    seconds = interleave(
        {
            "add": lambda: _added_to(copy.deepcopy(empty), masked),
            UNMASK: lambda: copy.deepcopy(attempt.core).open,
            "read": lambda: _reading(federation, attempt.core, kept),
            FLOOR: lambda: lambda: _encrypt_streams(removed, 4 * length),
            PLAIN: lambda: lambda: _average(federation.update, kept),
        },
        repetitions=repetitions,
    )
    parts = zip(seconds["add"], seconds[UNMASK], seconds["read"], strict=True)
    seconds[COORDINATOR] = [kept * add + unmask + read for add, unmask, read in parts]
    seconds[FLOWER] = _flower_seconds(federation, lost, repetitions)
    case = f"coordinator, {federation.label}, {lost} lost"
    goals = _UNMASK_GOALS_MS if length > _GOAL_VALUES else {}
    yield _row(case, UNMASK, seconds, against=(FLOOR,), goal=goals.get((sites, lost), ""))
    yield _row(case, COORDINATOR, seconds, against=(PLAIN, FLOWER))
    for way in (FLOOR, PLAIN, FLOWER):
        yield _row(case, way, seconds)
    if lost != 1 or sites <= 4:  # one share more or less tells nothing
        yield from _upload_rows(federation, small_bytes, lost)


def _contribute(attempt: Attempt, vector: Words, kept: int) -> Masked:
    """Masks and adds the vectors of the first ``kept`` sites; returns the last one."""
    for name in sorted(attempt.parties)[:kept]:
        masked = attempt.mask(name, vector.copy())
        attempt.core.add_masked(masked)
    return masked


def _added_to(core: CoordinatorRound, masked: Masked) -> Callable[[], object]:
    return lambda: core.add_masked(masked)


def _reading(federation: _Federation, core: CoordinatorRound, kept: int) -> Callable[[], object]:
    """Opens a copy and checks that the sum is the plain one, before reading it is timed."""
    words = copy.deepcopy(core).open()
    plain = federation.quantise() * np.uint32(kept)
    if not np.array_equal(words, plain):
        raise RuntimeError("the opened sum differs from the plain one")
    return lambda: decode(federation.plan, words, sites=kept)


def _flower_seconds(federation: _Federation, lost: int, repetitions: int) -> list[float]:
    """The server's whole work; the sum is random, since the time does not depend on it."""
    nodes, values = federation.nodes, federation.update.size
    gone, kept = set(range(len(nodes) - lost, len(nodes))), len(nodes) - lost
    uploaded = flower_secagg.mask_vector(nodes[:1], 0, federation.update)
    zero = [np.zeros(1, np.int64), np.zeros(values, np.int64)]

    def serve() -> None:
        total = zero
        for _ in range(kept):
            total = flower_secagg.add_vector(total, uploaded)
        flower_secagg.unmask_and_read(nodes, gone, total)

    streams = kept + lost * (len(nodes) - 1)
    times = _flower_repetitions(streams, values, repetitions)
    return interleave({FLOWER: lambda: serve}, repetitions=times)[FLOWER]


def _average(update: Floats, sites: int) -> Floats:
    total = np.zeros_like(update)
    for _ in range(sites):
        np.add(total, update, out=total)
    return np.divide(total, np.float32(sites), out=total)


def _encrypt_streams(streams: int, size_bytes: int) -> None:
    zeros, target = bytes(CHUNK_BYTES), bytearray(CHUNK_BYTES + 16)
    ciphers = [AESGCM(os.urandom(SEED_BYTES)) for _ in range(streams)]
    for number, start in enumerate(range(0, size_bytes, CHUNK_BYTES)):
        size = min(CHUNK_BYTES, size_bytes - start)
        part, nonce = zeros[:size], number.to_bytes(12, "big")
        for cipher in ciphers:
            cipher.encrypt_into(nonce, part, None, memoryview(target)[: size + 16])


def _upload_rows(federation: _Federation, small_bytes: int, lost: int) -> Iterator[Row]:
    values, case = federation.update.size, f"upload of a site, {federation.label}, {lost} lost"
    sizes = {
        UPLOAD: 4.0 * federation.plan.length + small_bytes,
        PLAIN: 4.0 * values,
        FLOWER: 8.0 * (values + 1),
    }
    for way, size in sizes.items():
        ratios = () if way == PLAIN else (ratio([size], to=PLAIN, others=[sizes[PLAIN]]),)
        megabytes = Spread.of([size / 1e6])
        yield Row(benchmark=NAME, case=case, way=way, unit="MB", spread=megabytes, ratios=ratios)


def _row(
    case: str, way: str, seconds: Seconds, *, against: tuple[str, ...] = (), goal: str = ""
) -> Row:
    goals = {FLOOR: _FLOOR_GOAL}
    ratios = [
        ratio(seconds[way], to=other, others=seconds[other], goal=goals.get(other, ""))
        for other in against
    ]
    return Row(
        benchmark=NAME,
        case=case,
        way=way,
        unit="ms",
        spread=Spread.of([1000 * value for value in seconds[way]]),
        goal=goal,
        ratios=tuple(ratios),
    )


def _flower_repetitions(streams: int, values: int, most: int) -> int:
    """Fewer where one repetition takes seconds; at least one."""
    expected_s = streams * values * _FLOWER_S_A_VALUE
    return max(1, min(most, int(_FLOWER_BUDGET_S / expected_s)))
