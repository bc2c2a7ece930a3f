"""CLIP answers as open_clip's own computation does, abstains where it is told to, and names what is wrong."""

from __future__ import annotations

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from open_clip.zero_shot_classifier import build_zero_shot_classifier
from PIL import Image
from safetensors.torch import load_file

import bench.recipes.clip
from bench.assets import asset_folder
from bench.config.shipped_sets import BALANCED
from bench.core.digest import digest_of
from bench.core.errors import ConfigError
from bench.data import load_data
from bench.data.avatars import ATTRIBUTES, avatar_faces
from bench.recipes.captions import draw_captions, draw_stated, true_of
from bench.recipes.classifier import augment, confusion
from bench.recipes.clip import contrastive_loss
from bench.recipes.recipe import read_recipe
from bench.recipes.train import train_recipe
from evaluators import clip_features
from evaluators.clip import Extractor, class_embeddings
from evaluators.contrastive.checkpoint import load_checkpoint
from evaluators.contrastive.prompts import SHIPPED, Prompts, check_covers, read_prompts
from evaluators.contrastive.vocabulary import reduced_merges, vocabulary_size

ASSET = asset_folder("avatars-clip")
FILES = ("open_clip_config.json", "open_clip_model.safetensors", "bpe.txt.gz", "heldout.json")


@pytest.fixture(scope="module")
def classifier():
    return Extractor()


@pytest.fixture(scope="module")
def fresh():
    """Faces of a seed that no shipped set has."""
    return avatar_faces(BALANCED, 4711, 200)


def as_tensor(faces):
    return torch.from_numpy(np.array(faces.images))


@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in FILES:
        shutil.copy(ASSET / name, folder)
    return folder


def test_zero_shot_answers_on_fresh_faces_are_right(classifier, fresh):
    actual = classifier.extract(as_tensor(fresh))
    assert list(actual) == [a.name for a in ATTRIBUTES]
    assert classifier.attributes == ATTRIBUTES
    for j, attribute in enumerate(ATTRIBUTES):
        p = actual[attribute.name]
        assert (p.shape, p.dtype) == ((200, attribute.n_classes), np.float32)
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
        accuracy = (p.argmax(1) == fresh.labels[:, j]).mean()
        assert accuracy >= 0.95, f"{attribute.name}: {accuracy}"


def test_the_answer_follows_the_words_and_not_their_order(classifier, fresh, tmp_path):
    """The same images, asked with the classes the other way round."""
    path = tmp_path / "turned.yaml"
    path.write_text(
        "templates: ['a face {}', 'an avatar {}']\n"
        "attributes: {eyeglasses: {present: [wearing eyeglasses], absent: [without eyeglasses, without glasses]}}"
    )
    turned = Extractor(prompts=str(path))
    assert turned.attributes[0].classes == ("present", "absent")
    p = turned.extract(as_tensor(fresh))["eyeglasses"]
    assert (p.argmax(1) == 1 - fresh.labels[:, 0]).mean() >= 0.9


def test_probabilities_are_those_that_open_clip_computes(fresh):
    """By its own loading, transform, tokenizer and `build_zero_shot_classifier`, one image at a time."""
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{ASSET}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{ASSET}", bpe_path=str(ASSET / "bpe.txt.gz"))
    network.eval()
    prompts, unsure = read_prompts("avatars"), Extractor(temperature=20.0)
    for attribute in ATTRIBUTES:
        weights = []
        for name in attribute.classes:
            says = [lambda _c, s=s: s for s in prompts.sentences(attribute.name, name)]
            weights.append(build_zero_shot_classifier(network, tokenize, ["-"], says))
        expected = []
        with torch.inference_mode():
            for image in fresh.images[:8]:
                x = transform(Image.fromarray(image.transpose(1, 2, 0)))[None]
                cosine = network.encode_image(x, normalize=True) @ torch.cat(weights, dim=1)
                expected.append((network.logit_scale.exp() * cosine / 20).softmax(-1)[0])
        actual = unsure.extract(as_tensor(fresh)[:8])[attribute.name]
        assert actual.max() < 0.95, "nearer to 1, differences of embeddings do not show"
        np.testing.assert_allclose(actual, torch.stack(expected).numpy(), atol=1e-5)


def test_a_class_is_the_mean_direction_of_its_sentences():
    """A long embedding weighs no more than a short one, which the embedded model's, all as long, would not show."""
    rows = {"u": [3.0, 0.0], "v": [0.0, 1.0], "w": [0.0, -2.0]}
    checkpoint = SimpleNamespace(
        tokenize=lambda message: torch.tensor([[ord(s)] for s in message]),
        embed_texts=lambda message: np.array([rows[s] for s in message], np.float32),
    )
    prompts = Prompts(templates=("{}",), attributes={"a": {"x": ("u", "v"), "y": ("w",)}})
    actual = class_embeddings(checkpoint, prompts, "a")
    np.testing.assert_allclose(actual, [[0.5**0.5, 0.5**0.5], [0.0, -1.0]], rtol=1e-6)


def test_the_stored_confusion_is_what_the_classifier_does(classifier):
    stored = json.loads((ASSET / "heldout.json").read_text())
    heldout = load_data(stored["data"], 200)  # a longer set begins with the shorter one
    actual = classifier.extract(as_tensor(heldout))
    for j, attribute in enumerate(ATTRIBUTES):
        measured = stored["attributes"][attribute.name]
        assert classifier.confusion[attribute.name] == measured["confusion"]
        assert np.sum(measured["confusion"]) == stored["n"] == 2000
        assert measured["accuracy"] == pytest.approx(np.trace(measured["confusion"]) / stored["n"])
        assert measured["accuracy"] >= 0.95
        table = confusion(heldout.labels[:, j], actual[attribute.name].argmax(1), attribute.n_classes)
        wrong, rate = 200 - np.trace(table), 1 - measured["accuracy"]
        assert wrong <= 200 * rate + 4 * (200 * rate * (1 - rate)) ** 0.5 + 1
    assert stored["temperature"] == classifier.temperature


def test_the_asset_is_small_and_was_trained_from_the_recipe_beside_it():
    record = json.loads((ASSET / "training.json").read_text())
    assert record["finished"]
    assert record["recipe"] == read_recipe(ASSET / "recipe.yaml").model_dump(mode="json")
    assert sum(path.stat().st_size for path in ASSET.iterdir()) <= 4e6
    words = read_recipe(ASSET / "recipe.yaml").captions
    assert (ASSET / "bpe.txt.gz").read_bytes() == reduced_merges(bench.recipes.clip.caption_texts(words))


def test_a_row_depends_on_its_image_alone(classifier, fresh):
    images = as_tensor(fresh)[:70]  # more than one batch
    whole = classifier.extract(images)
    parts = [classifier.extract(chunk) for chunk in torch.split(images, [1, 8, 61])]
    for name, expected in whole.items():
        np.testing.assert_allclose(np.concatenate([chunk[name] for chunk in parts]), expected, atol=1e-5)


def test_the_transform_is_the_checkpoints_own(classifier, copy, fresh):
    assert classifier.preprocess["mean"] == [0.5, 0.5, 0.5]
    assert classifier.preprocess["size"] == 32
    assert classifier.preprocess["interpolation"] == "bicubic"
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.1, 0.2, 0.3]
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    another = Extractor(f"path:{copy}")
    assert another.preprocess["mean"] == [0.1, 0.2, 0.3]
    assert another.digest != classifier.digest
    x = another.checkpoint.transform(Image.fromarray(np.zeros((48, 48, 3), np.uint8)))
    assert x.shape == (3, 32, 32), "other sizes are resized"
    torch.testing.assert_close(x[:, 0, 0], torch.tensor([-0.2, -0.4, -0.6]))
    images = as_tensor(fresh)[:4]
    assert not np.allclose(another.extract(images)["skin_tone"], classifier.extract(images)["skin_tone"])


def test_rows_below_the_threshold_are_nan_and_the_others_untouched(classifier, fresh):
    images = as_tensor(fresh)
    plain = classifier.extract(images)
    sure = plain["facial_hair"].max(1)
    threshold = float(np.quantile(sure, 0.3))
    careful = Extractor(threshold=threshold)
    actual = careful.extract(images)["facial_hair"]
    assert np.isnan(actual).any(1).sum() == (sure < threshold).sum() > 0
    assert (np.isnan(actual).any(1) == np.isnan(actual).all(1)).all()
    np.testing.assert_array_equal(actual[sure >= threshold], plain["facial_hair"][sure >= threshold])
    assert careful.confusion == {}, "it was measured on all images"
    assert careful.digest != classifier.digest


def test_a_temperature_divides_the_logits(classifier, fresh):
    images = as_tensor(fresh)[:5]
    hot = Extractor(temperature=7.0)
    for name, z in classifier.zero_shot(images).items():
        expected = np.exp(z / 7) / np.exp(z / 7).sum(1, keepdims=True)
        np.testing.assert_allclose(hot.extract(images)[name], expected, rtol=1e-4)
    assert hot.digest != classifier.digest
    assert hot.confusion == classifier.confusion, "no answer changes"


def test_other_prompts_do_not_borrow_the_confusion_and_the_temperature(tmp_path, classifier):
    path = tmp_path / "mine.yaml"
    path.write_text((SHIPPED / "avatars.yaml").read_text().replace("a cartoon face {}", "a small face {}"))
    ours = Extractor(prompts=str(path))
    assert (ours.confusion, ours.temperature) == ({}, 1.0)
    assert ours.digest != classifier.digest
    shutil.copy(SHIPPED / "avatars.yaml", path)
    assert Extractor(prompts=str(path)).confusion == classifier.confusion
    assert Extractor(prompts=str(path)).digest == classifier.digest


def test_features_are_the_embeddings_and_keep_their_length(classifier, fresh):
    extractor = clip_features.Extractor()
    images = as_tensor(fresh)[:3]
    actual = extractor.extract(images)["features"]
    assert (actual.shape, actual.dtype) == ((3, 48), np.float32)
    with torch.inference_mode():
        x = classifier.checkpoint.network.encode_image(images.float() / 127.5 - 1)
    np.testing.assert_allclose(actual, x.numpy(), rtol=1e-3, atol=1e-4)
    assert np.abs(np.linalg.norm(actual, axis=1) - 1).min() > 0.01
    assert extractor.digest == classifier.checkpoint.digest != classifier.digest
    assert extractor.extract(images[:0])["features"].shape == (0, 48)
    assert {name: p.shape for name, p in classifier.extract(images[:0]).items()} == {
        a.name: (0, a.n_classes) for a in ATTRIBUTES
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1.5}, r"threshold must be in \[0, 1\], got 1.5"),
        ({"threshold": float("nan")}, r"threshold must be in \[0, 1\], got nan"),
        ({"temperature": 0.0}, "temperature must be a number above 0, got 0.0"),
        ({"temperature": float("inf")}, "temperature must be a number above 0, got inf"),
        ({"model": "ViT-B-33"}, r"unknown CLIP model 'ViT-B-33'; did you mean 'ViT-B-32'"),
        ({"model": "avatars-clop"}, r"unknown CLIP model 'avatars-clop'; did you mean 'avatars-clip'"),
        ({"model": "path:/no/such/folder"}, "no folder /no/such/folder; give a folder with open_clip's"),
        ({"model": "ViT-B-32"}, "pretrained of ViT-B-32 must be a file or one of openai, .*, got None"),
        (
            {"model": "ViT-B-32", "pretrained": "absent.safetensors"},
            "pretrained of ViT-B-32 must be a file or .*, got abs",
        ),
        ({"pretrained": "openai"}, "pretrained is for open_clip's architectures, got it beside avatars-clip"),
        ({"prompts": "avatar"}, "unknown prompts 'avatar'; did you mean 'avatars'"),
        ({"prompts": "absent.yaml"}, "cannot read absent.yaml: No such file"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        Extractor(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("templates: [a face]\nattributes: {a: {x: [u], y: [v]}}", r"line 1: templates: a template must have one \{\}"),
        ("templates: ['{}']\nattributes: {a: {x: [u]}}", "attributes: a must have two classes or more, got 1"),
        ("templates: ['{}']\nattributes: {a: {x: [u], y: [v, u]}}", "'u' stands for two classes of a; keep it in one"),
        ("templates: ['{}']\nattributes: {a: {x: [], y: [v]}}", "attributes.a.x: .* at least 1 item"),
        ("templates: ['{}']\nattributes: {a: {no: [u], y: [v]}}", "attributes.a"),
        ("templates: ['{}']\nattribute: {a: {x: [u], y: [v]}}", "unknown key 'attribute'; did you mean 'attributes'"),
        ("templates: ['{}']\nattributes: {}", "attributes: .* at least 1 item"),
    ],
)
def test_a_prompts_file_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_prompts(str(tmp_path / "p.yaml"))


def test_sentences_that_are_cut_to_the_same_tokens_are_refused(tmp_path):
    text = f"templates: ['a face {'with ' * 30}{{}}']\nattributes: {{a: {{x: [glasses], y: [a beard]}}}}"
    (tmp_path / "long.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"sentences of a must differ between classes, got .* of y with the tokens"):
        Extractor(prompts=str(tmp_path / "long.yaml"))


def test_shipped_prompts_are_about_what_they_say():
    check_covers(read_prompts("avatars"), ATTRIBUTES, "prompts")
    with pytest.raises(ConfigError, match=r"prompts must have phrases for .*, in this order, got"):
        check_covers(read_prompts("avatars"), ATTRIBUTES[::-1], "prompts")
    faces = {a.name: a.n_classes for a in read_prompts("faces").described}
    assert faces == {"gender": 2, "age": 3, "race": 7, "eyeglasses": 2, "beard": 2}
    prompts = Prompts(templates=("a {} b", "{}"), attributes={"a": {"x": ("u", "v"), "y": ("w",)}})
    assert prompts.sentences("a", "x") == ["a u b", "a v b", "u", "v"]


@pytest.mark.parametrize("name", FILES[:3])
def test_a_missing_file_of_the_folder(copy, name):
    (copy / name).unlink()
    with pytest.raises(ConfigError, match=r"give a folder with open_clip's open_clip_config.json and weights"):
        Extractor(f"path:{copy}")


@pytest.mark.parametrize("length", [0, 5, 1000, -1])
def test_truncated_weights(copy, length):
    path = copy / FILES[1]
    os.truncate(path, length % path.stat().st_size)
    with pytest.raises(ConfigError, match=r"cannot (read the weights of|load) .*copy"):
        Extractor(f"path:{copy}")


@pytest.mark.parametrize(
    "config", ["[]", "{", "{}", '{"model_cfg": {"embed_dim": 3, "vision_cfg": {}, "text_cfg": 7}}']
)
def test_a_configuration_of_another_form(copy, config):
    (copy / FILES[0]).write_text(config)
    with pytest.raises(ConfigError, match=r"copy"):
        Extractor(f"path:{copy}")


def test_weights_of_another_architecture(copy):
    config = json.loads((copy / FILES[0]).read_text())
    config["model_cfg"]["embed_dim"] = 32
    (copy / FILES[0]).write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"cannot load .*copy.*; give a folder"):
        Extractor(f"path:{copy}")


def test_any_architecture_with_any_weights_file(tmp_path, fresh):
    """The same weights by open_clip's own name of an architecture; its tags come from the network and are not tried."""
    name = "avatars-test-architecture"
    config = json.loads((ASSET / FILES[0]).read_text())["model_cfg"]
    config["text_cfg"]["tokenizer_kwargs"]["bpe_path"] = str(ASSET / "bpe.txt.gz")
    (tmp_path / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / f"{name}.json")
    actual = Extractor(name, pretrained=str(ASSET / FILES[1]))
    assert actual.preprocess["mean"] == pytest.approx([0.481, 0.458, 0.408], abs=1e-3), "open_clip's default transform"
    assert (actual.confusion, actual.temperature) == ({}, 1.0)
    assert actual.extract(as_tensor(fresh)[:3])["skin_tone"].shape == (3, 3)
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ConfigError, match=f"cannot load {name} with .*other.pt"):
        load_checkpoint(name, str(tmp_path / "other.pt"))


def test_a_file_under_a_plain_name_may_be_of_the_quickgelu_form(tmp_path, capsys):
    """The same weights load under both names, and their embeddings differ."""
    small = {"embed_dim": 8, "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}}
    small["text_cfg"] = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    plain = "avatars-gelu"
    for name, config in ((plain, small), (f"{plain}-quickgelu", {**small, "quick_gelu": True})):
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(tmp_path / f"{name}.json")
    torch.save(open_clip.create_model(plain).state_dict(), tmp_path / "weights.pt")
    image = torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)
    one, other = (load_checkpoint(name, str(tmp_path / "weights.pt")) for name in (plain, f"{plain}-quickgelu"))
    assert not np.allclose(one.embed_images(image), other.embed_images(image), atol=1e-4)
    warning = f"is read as {plain}, and the file does not say which activation it was trained with"
    assert capsys.readouterr().err.count(warning) == 1
    load_checkpoint(f"{plain}-quickgelu", str(tmp_path / "weights.pt"))
    assert capsys.readouterr().err == ""


def test_the_warning_names_the_weights_that_need_the_other_form(capsys, monkeypatch, tmp_path):
    (tmp_path / "ViT-B-32.pt").write_bytes(b"of OpenAI")
    monkeypatch.setattr("evaluators.contrastive.checkpoint._load", lambda *_arguments: "loaded")
    assert load_checkpoint("ViT-B-32", str(tmp_path / "ViT-B-32.pt")) == "loaded"
    message = capsys.readouterr().err
    assert "Weights of openai, laion400m_e31, " in message
    assert "for those give model: ViT-B-32-quickgelu" in message
    assert "laion2b" not in message
    for model in ("ViT-B-32-quickgelu", "ViT-B-32-256"):
        load_checkpoint(model, str(tmp_path / "ViT-B-32.pt"))
    load_checkpoint("ViT-B-32", "openai")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 32, 32), torch.zeros(2, 32, 32, 3).byte(), torch.zeros(3, 8, 8).byte()]
)
def test_what_is_no_batch_of_images(classifier, images):
    with pytest.raises(ConfigError, match=r"images must be uint8 \[n, 3, h, w\], got torch"):
        classifier.extract(images)


def test_reduced_vocabulary_splits_as_the_whole_one_and_refuses_nothing(tmp_path):
    texts = ["a face with spectacles, clean-shaven", "unquestionably bearded"]
    (tmp_path / "bpe.gz").write_bytes(reduced_merges(texts))
    small = open_clip.SimpleTokenizer(str(tmp_path / "bpe.gz"), context_length=30)
    whole = open_clip.SimpleTokenizer()
    for text in texts:
        assert [small.decoder[t] for t in small.encode(text)] == [whole.decoder[t] for t in whole.encode(text)]
    assert small.vocab_size == vocabulary_size((tmp_path / "bpe.gz").read_bytes()) < 600
    assert small.eot_token_id == small.vocab_size - 1, "the text tower pools where the largest token is"
    assert small.decode(small.encode("zebra ü")) == "zebra ü "
    assert int(small(["zebra " * 20]).max()) < small.vocab_size


def test_captions_say_what_is_stated_and_nothing_else():
    words = read_recipe(ASSET / "recipe.yaml").captions
    g = torch.Generator().manual_seed(0)
    labels = torch.stack([torch.randint(a.n_classes, (500,), generator=g) for a in ATTRIBUTES], dim=1)
    stated = draw_stated(500, 3, 0.5, g)
    assert stated.any(1).all()
    assert stated.float().mean().item() == pytest.approx(1 / 3 + 2 / 3 * 0.5, abs=0.05)
    captions = draw_captions(words, labels, stated, g)
    assert len(set(captions)) > 400
    for caption, row, selected in zip(captions, labels.tolist(), stated.tolist(), strict=True):
        opening = next(t[:-2] for t in words.templates if caption.startswith(t[:-2]))
        message = set(caption.removeprefix(opening).split(", "))
        assert len(message) == sum(selected)
        for j, classes in enumerate(words.attributes.values()):
            assert bool(message & set(list(classes.values())[row[j]])) == selected[j]


def test_a_caption_is_true_of_every_image_that_it_does_not_contradict():
    labels = torch.tensor([[0, 1], [0, 2], [1, 1]])
    stated = torch.tensor([[True, False], [True, True], [False, True]])
    assert true_of(labels, labels, stated).tolist() == [
        [True, False, True],
        [True, True, False],
        [False, False, True],
    ]


def test_contrastive_loss_closed_forms():
    positive = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    best = torch.where(positive, 50.0, 0.0)
    assert contrastive_loss(best, positive).item() == pytest.approx(2 / 3 * np.log(2), abs=1e-5), "log of the positives"
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = open_clip.ClipLoss()
    result = torch.eye(4, dtype=torch.bool)
    image = torch.nn.functional.normalize(logits, dim=1)
    text = torch.nn.functional.normalize(logits.flip(0), dim=1)
    expected = theirs(image, text, torch.tensor(3.0, dtype=torch.float64))
    torch.testing.assert_close(contrastive_loss(3.0 * image @ text.T, result), expected)


RECIPE = """\
recipe:
  kind: clip
  data: {name: avatars-labelled, n: 48, size: 32}
  heldout: {name: avatars-heldout, n: 24, size: 32}
  training: {steps: 3, batch: 8, checkpoint_minutes: 1.0e-9}
  prompts: avatars
  model:
    embed_dim: 8
    vision_cfg: {layers: [1, 1, 1, 1], width: 4, head_width: 64}
    text_cfg: {context_length: 24, width: 8, heads: 2, layers: 1}
  captions:
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    shipped = (SHIPPED / "avatars.yaml").read_text().splitlines()
    path.write_text(RECIPE + "".join(f"    {line}\n" for line in shipped if not line.startswith("#")))
    return path


def test_a_resumed_training_leaves_the_same_bytes(tmp_path, recipe, monkeypatch):
    record = train_recipe(recipe, tmp_path / "unbroken")
    assert record["result"]["steps"] == 3
    calls = 0

    def breaks(*arguments: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return augment(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(bench.recipes.clip, "augment", breaks)
        with pytest.raises(KeyboardInterrupt):
            train_recipe(recipe, tmp_path / "broken")
    assert (tmp_path / "broken" / "checkpoint.pt").is_file()
    train_recipe(recipe, tmp_path / "broken")
    names = sorted(os.listdir(tmp_path / "unbroken"))
    assert names == sorted([*FILES, "recipe.yaml", "training.json"])
    assert names == sorted(os.listdir(tmp_path / "broken"))
    for name in names:
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes(), name
    weights = load_file(tmp_path / "unbroken" / FILES[1])
    counted = weights["visual.bn1.num_batches_tracked"].item()
    assert counted == bench.recipes.clip.BATCHES, "statistics of the averaged weights, not of the way there"
    measured = json.loads((tmp_path / "unbroken" / "heldout.json").read_text())
    assert measured["prompts_sha256"] == digest_of(read_prompts("avatars").as_json())
    assert all(np.sum(a["confusion"]) == 24 for a in measured["attributes"].values())
    assert str(tmp_path) not in "".join((tmp_path / "unbroken" / n).read_text() for n in names if n.endswith("json"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("eyeglasses:", "glasses:", "captions must have phrases for .*eyeglasses.*, in this order, got .*'glasses'"),
        ("prompts: avatars", "prompts: faces", "prompts faces must have phrases for"),
        ("heads: 2", "heads: 3", "model must describe a CLIP of open_clip"),
        ("head_width", "heads_width", "model must describe a CLIP of open_clip: .*heads_width"),
    ],
)
def test_a_recipe_that_cannot_be_trained(tmp_path, recipe, old, new, message):
    recipe.write_text(recipe.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message):
        train_recipe(recipe, tmp_path / "m")
