"""Captions of labelled images, made of phrases, and which captions are true of which images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evaluators.contrastive.prompts import Prompts


def draw_stated(n: int, n_attributes: int, frac: float, g: torch.Generator) -> Tensor:
    """Which attributes each of n captions states: bool [n, n_attributes].

    One at random is stated for sure, since a caption of nothing is true of every image; each other with
    probability `frac`.
    """
    stated = torch.rand(n, n_attributes, generator=g) < frac
    return stated.scatter(1, torch.randint(n_attributes, (n, 1), generator=g), True)


def draw_captions(words: Prompts, labels: Tensor, stated: Tensor, g: torch.Generator) -> list[str]:
    """A caption for each row of labels, in words drawn at random.

    Args:
        words: templates, and phrases for every class of every attribute, in the order of the labels' columns.
        labels: int64 [n, number of attributes].
        stated: bool, of the same shape; what is false is left out.
        g: where every draw comes from.

    Returns:
        n captions, such as "a face with dark skin, with glasses": phrases in random order.
    """
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=g)))
    phrases = [list(classes.values()) for classes in words.attributes.values()]
    captions = []
    for row, kept in zip(labels.tolist(), stated.numpy(), strict=True):
        said = [_pick(phrases[j][row[j]], rng) for j in rng.permutation(len(row)) if kept[j]]
        captions.append(_pick(words.templates, rng).replace("{}", ", ".join(said)))
    return captions


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]


def true_of(labels: Tensor, captioned: Tensor, stated: Tensor) -> Tensor:
    """Which captions are true of which images: bool [n images, n captions].

    Args:
        labels: int64 [n images, number of attributes], of the images.
        captioned: int64 [n captions, number of attributes], the labels that the captions were made from.
        stated: bool, shaped as `captioned`; an attribute that a caption leaves out, it does not contradict.
    """
    return ((labels[:, None] == captioned[None]) | ~stated[None]).all(-1)


def caption_texts(words: Prompts) -> list[str]:
    """Texts that together hold every word of every caption."""
    phrases = [p for classes in words.attributes.values() for group in classes.values() for p in group]
    return [*(template.replace("{}", ",") for template in words.templates), *phrases]
