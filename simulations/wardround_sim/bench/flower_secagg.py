"""Flower's SecAgg+ as its own client mod and server workflow compute it, without their wire.

The primitives and their order are those of ``secaggplus_mod`` and ``SecAggPlusWorkflow`` in
Flower 1.41, with the workflow's default ranges and the complete graph of sites.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from flwr.common import bytes_to_ndarray, ndarray_to_bytes
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    factor_combine,
    factor_extract,
    get_parameters_shape,
    parameters_addition,
    parameters_mod,
    parameters_multiply,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import dequantize, quantize
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.supercore.primitives.asymmetric import (
    bytes_to_private_key,
    bytes_to_public_key,
    generate_key_pairs,
    private_key_to_bytes,
    public_key_to_bytes,
)
from numpy.typing import NDArray

from wardround_common.secagg.terms import threshold
from wardround_common.update import Floats

_CLIPPING_RANGE, _TARGET_RANGE, _MOD_RANGE = 8.0, 1 << 22, 1 << 32

Integers = list[NDArray[np.int64]]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerNode:
    """One node after SecAgg+'s first two stages; node k is site k."""

    private_key: bytes
    public_key: bytes
    seed: bytes
    seed_shares: list[bytes]
    key_shares: list[bytes]


def make_nodes(sites: int) -> list[FlowerNode]:
    """Nodes with real keys and real shares, as many as are needed to open."""
    nodes = []
    for _ in range(sites):
        private, public = generate_key_pairs()
        key, seed = private_key_to_bytes(private), os.urandom(32)
        nodes.append(
            FlowerNode(
                private_key=key,
                public_key=public_key_to_bytes(public),
                seed=seed,
                seed_shares=create_shares(seed, threshold(sites), sites),
                key_shares=create_shares(key, threshold(sites), sites),
            )
        )
    return nodes


def mask_vector(nodes: list[FlowerNode], site: int, values: Floats) -> list[bytes]:
    """What node ``site`` computes and uploads in the third stage, with weight 1."""
    own, dimensions = nodes[site], [(1,), values.shape]
    weighted = parameters_multiply([values], 1.0)
    vector = factor_combine(_TARGET_RANGE, quantize(weighted, _CLIPPING_RANGE, _TARGET_RANGE))
    vector = parameters_addition(vector, pseudo_rand_gen(own.seed, _MOD_RANGE, dimensions))
    for other, node in enumerate(nodes):
        if other == site:
            continue
        mask = pseudo_rand_gen(_pair_key(own.private_key, node), _MOD_RANGE, dimensions)
        combine = parameters_addition if site > other else parameters_subtraction
        vector = combine(vector, mask)
    return [ndarray_to_bytes(array) for array in parameters_mod(vector, _MOD_RANGE)]


def add_vector(total: Integers, uploaded: list[bytes]) -> Integers:
    """What the server does with each upload."""
    return parameters_addition(total, [bytes_to_ndarray(data) for data in uploaded])


def unmask_and_read(nodes: list[FlowerNode], lost: set[int], total: Integers) -> list[Doubles]:
    """What the server does after the last stage: rebuilds secrets, removes masks, dequantises."""
    alive = [site for site in range(len(nodes)) if site not in lost]
    least, vector = threshold(len(nodes)), parameters_mod(total, _MOD_RANGE)
    for site, node in enumerate(nodes):
        dealt = node.key_shares if site in lost else node.seed_shares
        secret = combine_shares([dealt[peer] for peer in alive[: max(least, len(alive))]])
        if site not in lost:
            mask = pseudo_rand_gen(secret, _MOD_RANGE, get_parameters_shape(vector))
            vector = parameters_subtraction(vector, mask)
            continue
        for other, peer in enumerate(nodes):
            if other != site:
                key = _pair_key(secret, peer)
                mask = pseudo_rand_gen(key, _MOD_RANGE, get_parameters_shape(vector))
                combine = parameters_addition if site > other else parameters_subtraction
                vector = combine(vector, mask)
    factor, parts = factor_extract(parameters_mod(vector, _MOD_RANGE))
    values = dequantize(parts, _CLIPPING_RANGE, _TARGET_RANGE)
    offset, scale = -(len(alive) - 1) * _CLIPPING_RANGE, _TARGET_RANGE / int(factor)
    for array in values:
        np.add(array, offset, out=array)
        np.multiply(array, scale, out=array)
    return values


def _pair_key(private_key: bytes, peer: FlowerNode) -> bytes:
    private, public = bytes_to_private_key(private_key), bytes_to_public_key(peer.public_key)
    return generate_shared_key(private, public)
