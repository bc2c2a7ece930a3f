"""Seeds: fixed values, since every sample of every leaderboard rests on them."""

import hashlib

import pytest

from bench.core.seeds import derive_seed


@pytest.mark.parametrize(
    ("parts", "seed"),
    [
        (("unguided", 0), 50792543397211435),
        (("attribute_switching", 3, 7), 30519407743714855),
        (("adp", 0, 999), 24647691609368070),
    ],
)
def test_seeds_have_their_published_values(parts: tuple, seed: int) -> None:
    assert derive_seed(*parts) == seed
    text = " ".join(map(str, parts))
    assert seed == int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def test_noise_and_prompts_have_lengths_of_their_own() -> None:
    digest = hashlib.sha256(b"noise 5 12").digest()
    assert derive_seed("noise", 5, 12, bits=63) == int.from_bytes(digest[:8], "big") >> 1
    assert derive_seed("noise", 5, 12, bits=48) == int.from_bytes(digest[:6], "big")
    assert derive_seed("noise", 5, 12, bits=64) == int.from_bytes(digest[:8], "big")


def test_different_parts_give_different_seeds() -> None:
    seeds = [derive_seed("noise", seed, i) for seed in range(10) for i in range(100)]
    assert len(set(seeds)) == 1000
    assert all(0 <= s < 2**56 for s in seeds)
