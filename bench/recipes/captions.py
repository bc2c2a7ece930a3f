"""Captions of labelled images, made of phrases, and which captions are true of which images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evaluators.contrastive.prompts import Prompts


def draw_stated(n: int, n_attributes: int, frac: float, g: torch.Generator) -> Tensor:
    """Draw the attributes that each of n captions states: bool [n, n_attributes].

    One random attribute is always stated, since an empty caption is true of every image; every other one is stated
    with probability `frac`.
    """
    stated = torch.rand(n, n_attributes, generator=g) < frac
    return stated.scatter(1, torch.randint(n_attributes, (n, 1), generator=g), True)


def draw_captions(words: Prompts, labels: Tensor, stated: Tensor, g: torch.Generator) -> list[str]:
    """Draw a caption for each row of labels.

    Args:
        words: templates, and phrases for every class of every attribute, in the order of the labels' columns.
        labels: int64 [n, number of attributes].
        stated: bool, of the same shape; attributes that are False are left out.
        g: the source of every draw.

    Returns:
        n captions, such as "a face with dark skin, with glasses": phrases in random order.
    """
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=g)))
    phrases = [list(classes.values()) for classes in words.attributes.values()]
    captions = []
    for row, is_stated in zip(labels.tolist(), stated.numpy(), strict=True):
        attributes = [_pick(phrases[j][row[j]], rng) for j in rng.permutation(len(row)) if is_stated[j]]
        captions.append(_pick(words.templates, rng).replace("{}", ", ".join(attributes)))
    return captions


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]


def true_of(labels: Tensor, captioned: Tensor, stated: Tensor) -> Tensor:
    """Return which captions are true of which images: bool [n images, n captions].

    Args:
        labels: int64 [n images, number of attributes], of the images.
        captioned: int64 [n captions, number of attributes], the labels that the captions were made from.
        stated: bool, shaped as `captioned`; a caption is true whatever the attributes that it leaves out.
    """
    return ((labels[:, None] == captioned[None]) | ~stated[None]).all(-1)


def caption_texts(words: Prompts) -> list[str]:
    """Return texts that together contain every word of every caption."""
    phrases = [p for classes in words.attributes.values() for group in classes.values() for p in group]
    return [*(template.replace("{}", ",") for template in words.templates), *phrases]
