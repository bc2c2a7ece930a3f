"""Image-text models of open_clip, from assets, folders or the hub, with the image transform of their training."""

from __future__ import annotations

import difflib
import functools
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.assets import asset_folder, list_assets
from bench.core.digest import digest_of
from bench.core.errors import ConfigError, Incompatible, UnknownName
from bench.core.json_text import read_object
from bench.core.progress import console
from bench.storage.hub import FileChoice, fetch
from evaluators.pretrained.images import check_images
from evaluators.pretrained.weights import first_line

if TYPE_CHECKING:
    from open_clip import CLIP
    from PIL.Image import Image

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"  # the names that open_clip looks for
BATCH = 64  # batch size
READ = (CONFIG, "open_clip*.safetensors", "*.json", "*.txt")  # configuration, weights, tokenizer; no pickled objects
HINT = "give a folder with open_clip's open_clip_config.json and weights"


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model.

    Attributes:
        network: open_clip's model, on the CPU, in float32 and evaluation mode, its weights frozen.
        tokenize: sentences to int64 tokens [n, context length].
        preprocess: the image transform as the checkpoint's configuration describes it: size, mean, std,
            interpolation, resize_mode, ...
        transform: a PIL image to float32 [3, size, size]; made from `preprocess` by open_clip.
        folder: the folder that it was loaded from; None if open_clip found the weights by itself.
        digest: hash of the weights, the architecture and `preprocess`.
    """

    network: CLIP
    tokenize: Callable[[list[str]], Tensor]
    preprocess: dict[str, object]
    transform: Callable[[Image], Tensor]
    folder: Path | None
    digest: str

    @property
    def scale(self) -> float:
        """Factor from cosines to logits, > 0."""
        return float(self.network.logit_scale.exp())

    def embed_images(self, images: Tensor) -> npt.NDArray[np.float32]:
        """Return image embeddings, float32 [n, d], not normalised, of uint8 images [n, 3, h, w].

        Row i depends on image i alone.

        Raises:
            ConfigError: the images are of another type or shape.
        """
        from PIL.Image import fromarray

        check_images(images)
        if not len(images):
            return self.embed_images(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))[:0]
        pictures, rows = images.permute(0, 2, 3, 1).cpu().numpy(), []
        with torch.inference_mode():
            for start in range(0, len(pictures), BATCH):
                x = [self.transform(fromarray(picture)) for picture in pictures[start : start + BATCH]]
                rows.append(self.network.encode_image(torch.stack(x)).float().numpy())
        return np.concatenate(rows)

    def embed_texts(self, sentences: list[str]) -> npt.NDArray[np.float32]:
        """Return text embeddings, float32 [n, d], not normalised."""
        with torch.inference_mode():
            rows: npt.NDArray[np.float32] = self.network.encode_text(self.tokenize(sentences)).float().numpy()
        return rows


def load_checkpoint(model: str, pretrained: str | None = None) -> Checkpoint:
    """Load a model.

    Args:
        model: a shipped asset; `path:DIR`, a folder as open_clip writes it for the hub; `hub:OWNER/NAME[@REVISION]`;
            or the name of one of open_clip's architectures.
        pretrained: for an open_clip architecture, its weights: one of open_clip's tags, or a file.

    Raises:
        UnknownName: no model of that name.
        ConfigError: the weights are not named, missing, damaged or of another architecture.
        Incompatible: they cannot be downloaded from here, or their tokenizer needs a package that is not installed.
    """
    model = str(model)  # a suite may hold a number, which is an unknown name
    kind, _, address = model.partition(":")
    if kind in ("path", "hub") or model in list_assets("clip"):
        if pretrained is not None:
            raise ConfigError(f"pretrained is for open_clip's architectures, got it beside {model}; leave it out")
        folder = _folder(kind, address) if kind in ("path", "hub") else asset_folder(model)
        return _load(f"local-dir:{folder}", None, folder)
    import open_clip

    if model not in open_clip.list_models():
        near = difflib.get_close_matches(model, open_clip.list_models(), n=5, cutoff=0.5)
        raise UnknownName("CLIP model", model, [*list_assets("clip"), "path:DIR", "hub:ID", *near])
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained is None or not (pretrained in tags or Path(pretrained).is_file()):
        raise ConfigError(
            f"pretrained of {model} must be a file or one of {', '.join(tags) or '(none)'}, got {pretrained}"
        )
    if pretrained not in tags:
        _warn_of_activation(model, pretrained)
    return _load(model, pretrained, None)


@functools.cache
def _warn_of_activation(model: str, file: str) -> None:
    """Say that a file under the plain name of an architecture may be of its QuickGELU form; the weights look alike."""
    from open_clip import get_pretrained_cfg, list_models, list_pretrained_tags_by_model

    quickgelu = f"{model}-quickgelu"
    if quickgelu not in list_models():
        return
    tags = [t for t in list_pretrained_tags_by_model(quickgelu) if get_pretrained_cfg(quickgelu, t).get("quick_gelu")]
    console.print(
        f"warning: {file} is read as {model}, and the file does not say which activation it was trained with. Weights "
        f"of {', '.join(tags) or 'this architecture'} were trained with QuickGELU: for those give model: {quickgelu}. "
        "Under the plain name they load without an error and give worse embeddings",
        markup=False,
        soft_wrap=True,
    )


def _folder(kind: str, address: str) -> Path:
    folder = Path(address).expanduser() if kind == "path" else fetch(address, FileChoice(READ))
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder}; {HINT}")
    read_object(folder / CONFIG, HINT)  # reports a missing or damaged file in one sentence
    return folder


def _load(name: str, pretrained: str | None, folder: Path | None) -> Checkpoint:
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from safetensors import SafetensorError

    what = str(folder) if folder else f"{name} with {pretrained}"
    wrong = (ValueError, RuntimeError, TypeError, LookupError, OSError, AssertionError, AttributeError)
    try:
        # The initial weights must not advance torch's global generator.
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            # With the other activation the same weights give worse embeddings, without any other sign.
            warnings.filterwarnings("error", "QuickGELU mismatch")
            network = open_clip.create_model(name, pretrained, require_pretrained=True)
        config = open_clip.get_model_config(name)
        tokenize = open_clip.get_tokenizer(name, **_tokenizer_options(config, folder))
        preprocess = dict(network.visual.preprocess_cfg)
        transform = image_transform_v2(PreprocessCfg(**preprocess), is_train=False)
    except UserWarning as error:
        raise ConfigError(f"{what}: {first_line(error)} use the architecture whose name ends in -quickgelu") from error
    except (SafetensorError, EOFError, UnpicklingError) as error:
        raise ConfigError(f"cannot read the weights of {what}: {first_line(error)}; copy them again") from error
    except ImportError as error:
        raise Incompatible(f"cannot load {what}: {first_line(error)}; install that package") from error
    except wrong as error:
        if str(error).startswith("Failed to download"):  # open_clip has no exception class for it
            raise Incompatible(f"{first_line(error)}; download it and give it as a file") from error
        raise ConfigError(f"cannot load {what}: {first_line(error)}; {HINT} that fit") from error
    network.eval().requires_grad_(False)
    digest = digest_of([_weights_digest(network), config, preprocess])
    return Checkpoint(network, tokenize, preprocess, transform, folder, digest)


def _tokenizer_options(config: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """Return the path of a vocabulary that the configuration names; open_clip does not look for it in the folder."""
    named = (config["text_cfg"].get("tokenizer_kwargs") or {}).get("bpe_path")
    return {"bpe_path": str(folder / named)} if folder and named else {}


def _weights_digest(network: CLIP) -> str:
    total = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        total.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        total.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
