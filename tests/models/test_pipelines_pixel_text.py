"""Text-to-image in pixel space: IFPipeline with T5 or with CLIP, and the training of the embedded one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, IFPipeline
from scipy import stats

from bench.core.attributes import product
from bench.core.errors import BenchError, ConfigError
from bench.data import load_data
from bench.data.avatars import ATTRIBUTES
from bench.models import load_model
from bench.recipes.recipe import Subjects, read_recipe
from bench.recipes.text_to_image import caption, class_shares, draw_pairs, start_from
from bench.recipes.text_tower import text_tower
from bench.recipes.train import train_recipe
from bench.sampling.loop import Sampler
from evaluators.contrastive.checkpoint import load_checkpoint
from evaluators.contrastive.prompts import check_covers
from methods.attribute_switching import Method as AttributeSwitching
from tests.models.test_pipelines_flow import long_encoder
from tests.support.pipelines import (
    H_SPACE,
    LINEAR,
    STEPS,
    noise_sources,
    quiet,
    rewrite,
    samples,
    tiny_text_encoder,
    tiny_text_unet,
    tiny_tokenizer,
)

PROMPTS = {"none": "the cat", "pattern=rows": "A Dog ", "pattern=columns": "two"}
OFF = {"guidance_scale": 1.0}
RECIPE = Path(__file__).parents[2] / "bench" / "assets" / "avatars-text" / "recipe.yaml"


def pipeline(folder: Path, clip: bool = True, **unet: Any) -> IFPipeline:
    channels = {"in_channels": 3, "out_channels": 6}
    if clip:
        tokenizer, encoder = tiny_tokenizer(folder / "words"), tiny_text_encoder()
        network = tiny_text_unet(**{**channels, **unet})
    else:
        tokenizer, encoder = long_encoder()
        wide = {"encoder_hid_dim": 24, "encoder_hid_dim_type": "text_proj"}
        network = tiny_text_unet(**{**channels, **wide, **unet})
    made = IFPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder,
        unet=network,
        scheduler=DDPMScheduler(**{**LINEAR, "beta_end": 0.004}, variance_type="fixed_small"),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )
    made.save_pretrained(folder / "saved")
    return quiet(made)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("if")
    pipeline(folder)
    return folder / "saved"


def read(folder: Path, **fields: Any) -> Any:
    return load_model(f"path:{folder}", fields={"prompts": PROMPTS, **fields})


def images(made: IFPipeline, prompt: str, scale: float, negative: str = "") -> torch.Tensor:
    found = made(
        [prompt] * 3,
        num_inference_steps=STEPS,
        guidance_scale=scale,
        negative_prompt=[negative] * 3 if scale > 1 else None,
        generator=noise_sources(),
        output_type="np",
        clean_caption=False,
    ).images
    return torch.from_numpy(np.array(found)).permute(0, 3, 1, 2)


def asked(embeddings: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a pipeline takes in the place of a prompt and a negative one, embedded."""
    return {"prompt_embeds": embeddings[:1], "negative_prompt_embeds": embeddings[1:]}


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """To 1e-5 in [-1, 1]; the samples differ from each other."""
    assert float((ours.clamp(-1, 1) - (theirs * 2 - 1)).abs().max()) <= 1e-5
    assert float((theirs - theirs[:1]).abs().max()) > 0.01


# --- the samples of the pipeline itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [True, False])
def test_samples_are_those_of_the_pipeline_with_its_own_noise(tmp_path: Path, clip: bool) -> None:
    made = pipeline(tmp_path, clip)
    # A random network is wild at high noise: at the default scale its guided rounding errors come to about 1e-5.
    model, steps = read(tmp_path / "saved", guidance_scale=3.0), Sampler("ddpm", STEPS)
    assert model.conditions == ("none", "pattern=columns", "pattern=rows")
    assert (model.shape, model.image_size, model.bottleneck_shape) == ((3, 8, 8), 8, (16, 4, 4))
    asked, other = samples(model, steps), samples(model, steps, condition=2)
    same(asked, images(made, "the cat", 3.0))
    same(other, images(made, "A Dog ", 3.0))
    assert float((asked - other).abs().max()) > 0.01  # the prompts matter
    off = read(tmp_path / "saved", guidance_scale=1.0)
    same(samples(off, steps), images(made, "the cat", 1.0))
    ugly = read(tmp_path / "saved", guidance_scale=3.0, negative_prompt="ugly")
    same(samples(ugly, steps), images(made, "the cat", 3.0, "ugly"))


def test_without_a_learnt_variance_the_prediction_is_all_there_is(tmp_path: Path) -> None:
    pipeline(tmp_path / "six")
    three = tiny_text_unet(in_channels=3, out_channels=3)
    state = tiny_text_unet(in_channels=3, out_channels=6).state_dict()
    three.load_state_dict({k: v[:3] if k.startswith("conv_out") else v for k, v in state.items()})
    copy = Path(shutil.copytree(tmp_path / "six" / "saved", tmp_path / "three"))
    three.save_pretrained(copy / "unet")
    assert torch.allclose(samples(read(copy)), samples(read(tmp_path / "six" / "saved")), atol=1e-6)


# --- the methods ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*H_SPACE, AttributeSwitching(minibatch=4, minibatches=1)])
def test_methods_run(saved: Path, method: Any) -> None:
    model = read(saved)
    assert float((samples(model, method=method) - samples(model)).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rewrite("text_encoder/config.json", architectures=["BertModel"]), "a CLIPTextModel or a T5EncoderModel, got"),
        (rewrite("text_encoder/config.json", architectures=None), "a CLIPTextModel or a T5EncoderModel, got None"),
        (lambda f: tiny_text_unet(cross_attention_dim=8).save_pretrained(f / "unet"), "must take 3 channels, give 3"),
        (
            lambda f: tiny_text_unet(in_channels=6, out_channels=6).save_pretrained(f / "unet"),
            "those that enlarge images are not supported",
        ),
        (
            lambda f: tiny_text_unet(in_channels=3, out_channels=6, cross_attention_dim=8).save_pretrained(f / "unet"),
            "must read embeddings of the text encoder's width 16, got 8",
        ),
        (lambda f: shutil.rmtree(f / "tokenizer"), "no folder .*tokenizer, which model_index.json names"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(saved: Path, tmp_path: Path, change: Any, message: str) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "if"))
    change(folder)
    with pytest.raises(BenchError, match=message) as caught:
        read(folder)
    assert isinstance(caught.value, ConfigError)
    assert "\n" not in str(caught.value)


# --- the training --------------------------------------------------------------------------------------------------


def words() -> Subjects:
    recipe = read_recipe(RECIPE)
    assert recipe.kind == "text_to_image"
    return recipe.captions


def test_the_text_tower_is_open_clips_own() -> None:
    """Tokens and last hidden states, of words that it was trained with, of others, and of nothing."""
    encoder, tokenizer = text_tower("avatars-clip")
    checkpoint = load_checkpoint("avatars-clip")
    said = ["a portrait of a librarian with glasses", "A face, with dark skin!", "", "an accountant"]
    theirs = checkpoint.tokenize(said)
    ours = tokenizer(said, padding="max_length", return_tensors="pt")
    real = ours.attention_mask.bool()
    assert torch.equal(theirs[real], ours.input_ids[real])
    assert torch.equal(real.sum(1), (theirs != 0).sum(1))
    states: list[torch.Tensor] = []
    checkpoint.network.ln_final.register_forward_hook(lambda _module, _args, out: states.append(out))
    checkpoint.embed_texts(said)
    found = encoder.eval()(ours.input_ids, attention_mask=ours.attention_mask).last_hidden_state
    assert torch.allclose(found[real], states[0][real], atol=1e-6)


def test_images_of_a_subject_have_the_shares_of_the_recipe_and_captions_are_true_of_them() -> None:
    captions, joint = words(), product(ATTRIBUTES)
    rows_of = [np.arange(k * 50, (k + 1) * 50) for k in range(joint.n_classes)]
    rows, said = draw_pairs(captions, rows_of, 6000, torch.Generator().manual_seed(0))
    labels = np.stack(np.unravel_index(rows // 50, [a.n_classes for a in ATTRIBUTES]), axis=1)
    for row, text in zip(labels, said, strict=True):
        for j, classes in enumerate(captions.phrases.values()):
            stated = [k for k, phrase in enumerate(classes.values()) if phrase in text]
            assert stated in ([], [row[j]]), (text, row)
    share = np.mean([any(who in text for who in captions.shares) for text in said])
    assert abs(share - captions.named_frac) < 4 * (0.25 / len(said)) ** 0.5
    for subject in captions.shares:
        of = [k for k, text in enumerate(said) if subject in text]
        counts = np.bincount(rows[of] // 50, minlength=joint.n_classes)
        expected = class_shares(captions, subject) * len(of)
        assert stats.chisquare(counts, expected).pvalue > 1e-4, subject
    wrong = class_shares(captions, "a pilot") * len(of)  # of the last subject, the teacher: the test can fail
    assert stats.chisquare(counts, wrong).pvalue < 1e-9


def test_a_caption_reads_as_a_prompt_does() -> None:
    captions = words()
    assert caption(captions, None, []) == "a portrait of a person"
    assert caption(captions, "a baker", ["with glasses", "with dark skin"]) == (
        "a portrait of a baker with glasses, with dark skin"
    )


def test_captions_of_other_attributes_and_shares_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"captions must have phrases for .*in this order, got"):
        check_covers(words(), ATTRIBUTES[::-1], "captions")
    made = words().model_dump()
    made["shares"]["a pilot"]["eyeglasses"] = [0.9, 0.2]
    with pytest.raises(ValueError, match="the shares of eyeglasses of 'a pilot'"):
        Subjects.model_validate(made)
    del made["shares"]["a pilot"]["eyeglasses"]
    with pytest.raises(ValueError, match="'a pilot' must have shares of"):
        Subjects.model_validate(made)


def test_tensors_that_fit_are_taken_from_the_score_model() -> None:
    from diffusers import UNet2DConditionModel

    recipe = read_recipe(RECIPE)
    made = UNet2DConditionModel(sample_size=32, in_channels=3, out_channels=6, cross_attention_dim=48, **recipe.unet)  # type: ignore[union-attr]
    base = load_model("avatars-unet").unet.state_dict()  # type: ignore[attr-defined]
    copied = start_from(made, "avatars-unet")
    assert copied > 0.8 * sum(v.numel() for v in base.values())
    state = made.state_dict()
    for key in ("conv_in.weight", "mid_block.resnets.1.conv2.weight"):
        assert torch.equal(state[key], base[key])
    assert torch.equal(state["conv_out.weight"][:3], base["conv_out.weight"])


def test_a_short_training_leaves_a_pipeline_that_diffusers_loads(tmp_path: Path) -> None:
    text = RECIPE.read_text(encoding="utf-8")
    short = tmp_path / "short.yaml"
    settings = read_recipe(RECIPE).training
    swapped = text.replace(f"steps: {settings.steps}", "steps: 2").replace("batch: 64", "batch: 2")
    short.write_text(swapped.replace("n: 20000", "n: 100"))
    record = train_recipe(short, tmp_path / "made")
    assert record["finished"]
    assert record["result"]["steps"] == 2
    made = IFPipeline.from_pretrained(tmp_path / "made").to(torch.float32)
    model = load_model(f"path:{tmp_path / 'made'}", fields={"prompts": {"none": "a portrait of a baker"}})
    assert model.image_size == 32
    tokens = made.tokenizer(["a portrait of a baker", ""], padding="max_length", return_tensors="pt")
    read_as = made.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
    assert torch.allclose(model._embeddings, read_as, atol=1e-6)  # type: ignore[attr-defined]
    x, t = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([300, 999])
    out = made.unet(x, t, encoder_hidden_states=read_as[:1].repeat(2, 1, 1)).sample[:, :3]
    a = made.scheduler.alphas_cumprod[t].reshape(-1, 1, 1, 1)
    wanted = a.sqrt() * x - (1 - a).sqrt() * out
    off = load_model(f"path:{tmp_path / 'made'}", fields={"prompts": {"none": "a portrait of a baker"}, **OFF})
    assert torch.allclose(off.denoise(x, t, torch.zeros(2, dtype=torch.int64)), wanted, atol=1e-5)
    assert len(quiet(made)(**asked(read_as), num_inference_steps=1, output_type="np").images) == 1


def test_a_set_that_lacks_a_class_cannot_be_captioned(tmp_path: Path) -> None:
    short = tmp_path / "few.yaml"
    short.write_text(RECIPE.read_text(encoding="utf-8").replace("n: 20000", "n: 6"))
    with pytest.raises(ConfigError, match=r"avatars-unbiased must have images of every class of .*, got none of"):
        train_recipe(short, tmp_path / "made")
    assert len(load_data(read_recipe(short).data)) == 6
    assert json.loads((tmp_path / "made" / "training.json").read_text())["finished"] is False
