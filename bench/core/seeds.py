"""The one derivation of seeds from what they are for."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: str | int, bits: int = 56) -> int:
    """Return a seed that depends on all parts and on nothing else, the same on every machine and in every release.

    Seeds of different parts are independent: the seed is the leading bits of the SHA-256 of the parts' texts, joined
    by spaces.

    Args:
        parts: the purpose first ("noise", a method's name), then the numbers that the seed depends on.
        bits: length of the seed, 1 to 64; the seed lies in [0, 2^bits).

    Example:
        >>> derive_seed("noise", 0, 17) == derive_seed("noise 0 17")
        True
    """
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - bits)
