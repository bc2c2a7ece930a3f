"""A byte-pair vocabulary cut down to given texts, in the form that open_clip's tokenizer reads."""

from __future__ import annotations

import gzip
from collections.abc import Iterable

N_BYTES = 512  # every byte, within a word and at its end: the tokens that no merge makes
N_SPECIAL = 2  # start and end of text


def reduced_merges(texts: Iterable[str]) -> bytes:
    """The merges that open_clip's default vocabulary makes in some texts, in its order.

    A tokenizer with this file splits the words of these texts as the default one does, and any other word into
    smaller pieces, down to its bytes. A small text tower then has no rows for the 49,000 tokens that it never meets.

    Returns:
        A gzipped file for `open_clip.tokenizer.SimpleTokenizer(bpe_path=...)`: a comment, then one pair a line. The
        same bytes for the same texts.
    """
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    pairs = list(tokenizer.bpe_ranks)  # pair k makes token N_BYTES + k
    todo = [token for text in texts for token in tokenizer.encode(text)]
    wanted: set[int] = set()
    while todo:
        token = todo.pop()
        if token >= N_BYTES and token not in wanted:
            wanted.add(token)
            todo += [tokenizer.encoder[part] for part in pairs[token - N_BYTES]]  # which may be merges themselves
    lines = ["#version: a part of bpe_simple_vocab_16e6", *(" ".join(pairs[k - N_BYTES]) for k in sorted(wanted))]
    return gzip.compress("\n".join(lines).encode(), mtime=0)


def vocabulary_size(merges: bytes) -> int:
    """Number of tokens of a tokenizer that reads `merges`, as `reduced_merges` made it."""
    return N_BYTES + len(gzip.decompress(merges).decode().splitlines()) - 1 + N_SPECIAL
