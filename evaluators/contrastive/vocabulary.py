"""A byte-pair vocabulary reduced to some texts, in the format of open_clip's tokenizer."""

from __future__ import annotations

import gzip
from collections.abc import Iterable

N_BYTES = 512  # every byte, within and at the end of a word: the tokens without a merge
N_SPECIAL = 2  # start and end of text


def reduced_merges(texts: Iterable[str]) -> bytes:
    """Return the merges of open_clip's default vocabulary that occur in some texts, in its order.

    A tokenizer with this file splits the words of these texts like the default one, and other words into smaller
    pieces, down to bytes. A small text tower then needs no rows for the 49,000 tokens that never occur.

    Returns:
        A gzipped file for `open_clip.tokenizer.SimpleTokenizer(bpe_path=...)`: a comment, then one pair per line.
        Equal texts give equal bytes.
    """
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    pairs = list(tokenizer.bpe_ranks)  # pair k makes token N_BYTES + k
    queue = [token for text in texts for token in tokenizer.encode(text)]
    used: set[int] = set()
    while queue:
        token = queue.pop()
        if token >= N_BYTES and token not in used:
            used.add(token)
            queue += [tokenizer.encoder[piece] for piece in pairs[token - N_BYTES]]  # may be merges themselves
    lines = ["#version: a part of bpe_simple_vocab_16e6", *(" ".join(pairs[k - N_BYTES]) for k in sorted(used))]
    return gzip.compress("\n".join(lines).encode(), mtime=0)


def vocabulary_size(merges: bytes) -> int:
    """Return the number of tokens of a tokenizer with the file `merges` of `reduced_merges`."""
    return N_BYTES + len(gzip.decompress(merges).decode().splitlines()) - 1 + N_SPECIAL
