"""Train a small contrastive image-text model on captioned images, and measure its zero-shot classes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from bench.core.digest import digest_of
from bench.core.errors import ConfigError, Undefined
from bench.core.progress import console
from bench.data import load_data, print_left_out
from bench.protocols.images import LabelledImages
from bench.recipes.captions import caption_texts, draw_captions, draw_stated, true_of
from bench.recipes.classifier import augment, measure
from bench.recipes.cycles import train_cycles
from bench.recipes.recipe import ClipRecipe, Options, Record
from bench.storage.files import write_bytes, write_json
from bench.training.loop import summary
from evaluators.classifiers.calibration import fit_temperature, softmax
from evaluators.classifiers.files import HELDOUT
from evaluators.classifiers.reading import to_input
from evaluators.clip import Extractor
from evaluators.contrastive.checkpoint import CONFIG, WEIGHTS
from evaluators.contrastive.prompts import check_covers, read_prompts
from evaluators.contrastive.vocabulary import reduced_merges, vocabulary_size

if TYPE_CHECKING:
    from open_clip.model import CLIP

MERGES = "bpe.txt.gz"
MAX_SCALE = 100.0  # Radford et al. 2021, section 2.5: larger ones made training unstable
HALF = [0.5, 0.5, 0.5]  # mean and standard deviation of the transform: pixels in [-1, 1], as `to_input` has them
BATCHES = 30  # of images that the statistics of batch normalisation are computed on again


def train_clip(recipe: ClipRecipe, folder: Path) -> Record:
    """Train from `recipe`, or resume; write the files that open_clip loads, and the held-out confusion.

    Returns:
        The record of the training: steps and losses, the data's name and hash, held-out zero-shot accuracy.

    Raises:
        ConfigError: captions or prompts are not about the data's attributes, the held-out set has others, or the
            architecture cannot be made.
    """
    from open_clip.tokenizer import SimpleTokenizer
    from safetensors.torch import save

    data = load_data(recipe.data)
    heldout = load_data(recipe.heldout)
    print_left_out([data, heldout])
    check_covers(recipe.captions, data.attributes, "captions")
    check_covers(read_prompts(recipe.prompts), heldout.attributes, f"prompts {recipe.prompts}")
    merges = reduced_merges(caption_texts(recipe.captions))
    write_bytes(folder / MERGES, merges)
    config = _config(recipe, vocabulary_size(merges))
    network = _network(config, recipe.training.seed)
    tokenize = SimpleTokenizer(str(folder / MERGES), context_length=network.context_length)
    images = torch.from_numpy(np.array(data.images))
    labels = torch.from_numpy(np.array(data.labels))
    settings = recipe.training

    def pictures(rows: Tensor, g: torch.Generator) -> Tensor:
        return augment(to_input(images[rows]), recipe.shift, settings.flips, g)

    def loss(g: torch.Generator) -> Tensor:
        rows = torch.randint(len(images), (settings.batch,), generator=g)
        stated = draw_stated(len(rows), labels.shape[1], recipe.stated_frac, g)
        tokens = tokenize(draw_captions(recipe.captions, labels[rows], stated, g))
        image = network.encode_image(pictures(rows, g), normalize=True)
        text = network.encode_text(tokens, normalize=True)
        scale = network.logit_scale.clamp(max=math.log(MAX_SCALE)).exp()
        return contrastive_loss(scale * image @ text.T, true_of(labels[rows], labels[rows], stated))

    losses = train_cycles(network, loss, settings.budgets(), folder / "checkpoint.pt", f"CLIP {folder.name}")
    g = torch.Generator().manual_seed(settings.seed)
    batches = (torch.randint(len(images), (settings.batch,), generator=g) for _ in range(BATCHES))
    update_bn((pictures(rows, g) for rows in batches), network.visual)  # those of the averaged weights
    write_bytes(folder / WEIGHTS, save({k: _half(v) for k, v in network.state_dict().items()}))
    write_json(folder / CONFIG, config)
    measured = _measure(folder, recipe.prompts, heldout)
    console.print(f"wrote {folder}")
    accuracy = {name: values["accuracy"] for name, values in measured["attributes"].items()}
    record = {"data": data.name, "data_sha256": data.digest, "n": len(data), "heldout_accuracy": accuracy}
    return {**summary(losses), **record}


def contrastive_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Return the cross-entropy to the uniform distribution over positives, averaged over both directions.

    Source: Yang et al. 2022, arXiv 2204.03610, Eqs. 2-3, with the mean over positives inside: several captions are
    true of an image and several images fit a caption. With one positive per row and column it is CLIP's loss.

    Args:
        logits: float [n images, n captions], scale x cosine.
        positive: bool of the same shape, with one True or more in every row and column.

    Returns:
        Scalar, >= the mean of log(number of positives), which is reached where all of them are equally likely.
    """
    target = positive.to(logits.dtype)
    of_images = functional.cross_entropy(logits, target / target.sum(1, keepdim=True))
    of_captions = functional.cross_entropy(logits.T, target.T / target.T.sum(1, keepdim=True))
    return (of_images + of_captions) / 2


def _config(recipe: ClipRecipe, vocab_size: int) -> Options:
    model = recipe.model
    text = {**model.text_cfg, "vocab_size": vocab_size, "tokenizer_kwargs": {"bpe_path": MERGES}}
    size = {**model.vision_cfg, "image_size": recipe.data.size}
    preprocess = {"mean": HALF, "std": HALF, "interpolation": "bicubic", "resize_mode": "squash"}
    model_cfg = {"embed_dim": model.embed_dim, "vision_cfg": size, "text_cfg": text}
    return {"model_cfg": model_cfg, "preprocess_cfg": preprocess}


def _network(config: Options, seed: int) -> CLIP:
    from open_clip.model import CLIP

    torch.manual_seed(seed)  # layers are initialised from the global generator
    try:
        return CLIP(**config["model_cfg"])
    except (TypeError, ValueError, RuntimeError, AssertionError, ZeroDivisionError) as error:
        raise ConfigError(f"model must describe a CLIP of open_clip: {error}") from error


def _half(value: Tensor) -> Tensor:
    return (value.half() if value.is_floating_point() else value).contiguous()


def _measure(folder: Path, prompts: str, heldout: LabelledImages) -> dict[str, Any]:
    """Measure the written files, in half precision, on the held-out set: confusion, accuracy, temperature."""
    classifier = Extractor(f"path:{folder}", prompts=prompts, temperature=1.0)
    logits = classifier.zero_shot(torch.from_numpy(np.array(heldout.images)))
    measured = measure({name: softmax(z) for name, z in logits.items()}, heldout)
    labels = {a.name: heldout.labels[:, j] for j, a in enumerate(heldout.attributes)}
    try:
        fitted = {"temperature": fit_temperature(logits, labels)}
    except Undefined:
        fitted = {}  # no temperature is best; readers then use the logits unchanged
    words = {"prompts": prompts, "prompts_sha256": digest_of(read_prompts(prompts).as_json())}
    measured = {**measured, **fitted, **words}
    write_json(folder / HELDOUT, measured)
    return measured
