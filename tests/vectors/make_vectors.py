"""Writes the vectors that are wardround's own, from `reference` alone, byte for byte.

    python tests/vectors/make_vectors.py          writes them beside this file
    python tests/vectors/make_vectors.py --check  says whether they are what stands there

The published vectors (RFCs, drafts) in `published.json` are typed in, not made; their sources
stand beside them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.vectors import reference

FOLDER = Path(__file__).resolve().parent
KEY = bytes(range(32))
CHUNK_BYTES = 512 * 1024


def mask_stream() -> dict[str, object]:
    """First and last bytes of the first chunks."""
    size = 2 * CHUNK_BYTES + 64
    stream = reference.stream(KEY, size)
    starts = (0, CHUNK_BYTES - 32, CHUNK_BYTES, 2 * CHUNK_BYTES - 32, 2 * CHUNK_BYTES)
    return {
        "source": "section 3 of the design: AES-256-CTR, counter block chunk || 00000002",
        "seed": KEY.hex(),
        "bytes": size,
        "sha256": hashlib.sha256(stream).hexdigest(),
        "at": {str(start): stream[start : start + 32].hex() for start in starts},
    }


def signatures() -> list[dict[str, object]]:
    """Signatures over a label and fields."""
    cases: list[tuple[str, list[bytes]]] = [
        ("advert", [b"site_a", bytes(32)]),
        ("consistency", []),
        ("consistency", [b""]),
    ]
    rows: list[dict[str, object]] = []
    for label, fields in cases:
        message = reference.pack("wardround 1", label, *fields)
        rows.append(
            {
                "secret": KEY.hex(),
                "public": reference.ed25519_public(KEY).hex(),
                "label": label,
                "fields": [field.hex() for field in fields],
                "message": message.hex(),
                "signature": reference.ed25519_sign(KEY, message).hex(),
            }
        )
    return rows


def derivations() -> dict[str, object]:
    """What two sites derive from their keys, and commit to."""
    private, peer = bytes(range(1, 33)), bytes(range(2, 34))
    base = (9).to_bytes(32, "little")
    public = reference.x25519(peer, base)
    shared, context = reference.x25519(private, public), hashlib.sha256(b"context").digest()
    info = {
        "pair_seed": reference.pack("mask", "site_a", "site_b"),
        "box_key_a_to_b": reference.pack("box", "site_a", "site_b"),
        "box_key_b_to_a": reference.pack("box", "site_b", "site_a"),
    }
    derived = {
        name: reference.hkdf_sha256(shared, salt=context, info=label, length=32)
        for name, label in info.items()
    }
    pair = derived["pair_seed"]
    return {
        "private": private.hex(),
        "peer_private": peer.hex(),
        "peer_public": public.hex(),
        "context": context.hex(),
        **{name: value.hex() for name, value in derived.items()},
        "commit_pair": hashlib.sha256(reference.pack("pair", context, pair)).hexdigest(),
        "commit_self": hashlib.sha256(reference.pack("self", context, pair)).hexdigest(),
    }


def attempt() -> dict[str, object]:
    """Terms, base, signed adverts and the context of a roster of three."""
    hashes = [hashlib.sha256(name).digest() for name in (b"study", b"model", b"layout")]
    numbers = (7, 2, "train", 60)
    terms = reference.pack(1, hashes[0], bytes(16), *numbers, *hashes[1:], 1000, 8, 3)
    base = hashlib.sha256(reference.pack("base", terms)).digest()
    adverts = []
    for k, site in enumerate(("site_a", "site_b", "site_c")):
        secret, mask, transport = (bytes([16 * part + k]) * 32 for part in (1, 2, 3))
        message = reference.pack("wardround 1", "advert", site, mask, transport, base)
        signature = reference.ed25519_sign(secret, message)
        adverts.append(reference.pack(site, mask, transport, base, signature))
    context = hashlib.sha256(reference.pack("ctx", base, 3, 3, 3, *adverts)).digest()
    return {
        "terms": terms.hex(),
        "base": base.hex(),
        "adverts": [advert.hex() for advert in adverts],
        "context": context.hex(),
    }


def shamir() -> dict[str, object]:
    """Shares of a known polynomial: coefficients drawn first are those of the lowest degree."""
    secret, coefficients = b"wardround", [bytes(range(1, 10)), bytes(range(101, 110))]
    shares = {}
    for x in (1, 2, 3, 4, 5, 255):
        square = reference.times(x, x)
        shares[str(x)] = bytes(
            s ^ reference.times(a, x) ^ reference.times(b, square)
            for s, a, b in zip(secret, *coefficients, strict=True)
        ).hex()
    drawn = b"".join(coefficients).hex()
    return {"secret": secret.hex(), "threshold": 3, "random": drawn, "shares": shares}


def model_hash() -> dict[str, object]:
    """Identity of a model of two arrays: 1.0, -2.5 in shape (2, 1), and a scalar 0.5."""
    parts = [("bias", (), "0000003f"), ("weight", (2, 1), "0000803f000020c0")]
    digest = hashlib.sha256(b"wardround model 1\n")
    for name, shape, data in parts:
        raw = bytes.fromhex(data)
        digest.update(reference.pack(name, *shape) + len(raw).to_bytes(8, "big") + raw)
    return {"sha256": digest.hexdigest()}


def vectors() -> dict[str, object]:
    """All of ours, in one document."""
    return {
        "source": "made by make_vectors.py from reference.py",
        "mask_stream": mask_stream(),
        "signatures": signatures(),
        "derivations": derivations(),
        "attempt": attempt(),
        "shamir": shamir(),
        "model_hash": model_hash(),
    }


def as_bytes() -> bytes:
    """The file's content."""
    return (json.dumps(vectors(), indent=2) + "\n").encode()


def main() -> int:
    """Writes or checks the file."""
    path, content = FOLDER / "ours.json", as_bytes()
    if "--check" in sys.argv[1:]:
        return 0 if path.read_bytes() == content else 1
    path.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
