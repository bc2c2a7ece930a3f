"""The avatars: their labels follow the declared distribution, and a face depends on (seed, index) alone."""

from __future__ import annotations

import itertools

import dicebear
import numpy as np
import pytest
from scipy.stats import chisquare

from bench.config.shipped_sets import BALANCED, BIASED, SETS
from bench.core.attributes import Attribute, joint_labels, product
from bench.core.errors import ConfigError, UnknownName
from bench.data import avatars, list_data, load_data
from bench.data.avatars import ATTRIBUTES, SKIN, avatar_faces, draw_face, draw_labels
from bench.protocols.images import LabelledImages

GLASSES, TONE, HAIR = ATTRIBUTES


@pytest.mark.parametrize("name", SETS)
def test_labels_follow_the_declared_distribution(name):
    chosen = SETS[name]
    labels = np.array([draw_labels(chosen.joint, chosen.seed, i) for i in range(3000)])
    counts = np.bincount(joint_labels(labels, ATTRIBUTES), minlength=chosen.joint.size)
    assert chisquare(counts, 3000 * chosen.joint.ravel()).pvalue > 1e-3


def test_sets_have_seeds_of_their_own():
    assert len({chosen.seed for chosen in SETS.values()}) == len(SETS)


def test_biased_marginals():
    np.testing.assert_allclose(BIASED.sum((1, 2)), [0.8, 0.2])
    np.testing.assert_allclose(BIASED.sum((0, 2)), [0.7, 0.2, 0.1])
    np.testing.assert_allclose(BIASED.sum((0, 1)), [0.7, 0.3])


def test_biased_attributes_are_correlated():
    independent = np.einsum("g,s,f->gsf", BIASED.sum((1, 2)), BIASED.sum((0, 2)), BIASED.sum((0, 1)))
    assert np.abs(BIASED - independent).sum() / 2 > 0.03, "total variation distance from independence"
    glasses_given_tone = BIASED.sum(2)[1] / BIASED.sum((0, 2))
    np.testing.assert_allclose(glasses_given_tone, [0.23, 0.155, 0.08])
    hair_given_tone = BIASED.sum(0)[:, 1] / BIASED.sum((0, 2))
    np.testing.assert_allclose(hair_given_tone, [0.26, 0.44, 0.30])


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)


def test_skin_palettes_are_separated():
    for own, other in itertools.permutations(SKIN, 2):
        widest = max(np.linalg.norm(rgb(a) - rgb(b)) for a, b in itertools.combinations(own, 2))
        nearest = min(np.linalg.norm(rgb(a) - rgb(b)) for a, b in itertools.product(own, other))
        assert nearest > 2 * widest


def test_a_longer_set_begins_with_the_shorter_one():
    short, long = avatar_faces(BIASED, 31, 12, 24, workers=1), avatar_faces(BIASED, 31, 20, 24, workers=1)
    np.testing.assert_array_equal(long.images[:12], short.images)
    np.testing.assert_array_equal(long.labels[:12], short.labels)
    assert long.digest != short.digest


def test_seeds_give_other_faces():
    one, two = (avatar_faces(BALANCED, seed, 12, 24, workers=1) for seed in (32, 33))
    assert (one.images != two.images).any(axis=(1, 2, 3)).all()


def test_workers_do_not_change_the_faces():
    one, two = (avatars._draw_all(BALANCED, 34, 201, 8, "test", workers) for workers in (1, 2))
    for name in ("images", "labels"):
        np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize("labels", list(itertools.product((0, 1), (0, 1, 2), (0, 1))))
def test_faces_are_those_of_dicebear(labels: tuple[int, int, int]) -> None:
    """Checked once for all faces of some labels, and drawn as its own way to draw one does."""
    glasses, skin, hair = labels
    for index in range(5):
        asked = {
            **avatars.STYLE,
            "seed": f"7-{index}",
            "accessoriesProbability": 100 * glasses,
            "skinColor": list(SKIN[skin]),
            "facialHairProbability": 100 * hair,
        }
        assert avatars.draw_svg(labels, 7, index) == str(dicebear.Avatar(avatars._style(), asked))


def test_shapes_types_and_credit():
    data = load_data("avatars-heldout", 5, 48)
    assert (data.images.shape, data.images.dtype) == ((5, 3, 48, 48), np.uint8)
    assert (data.labels.shape, data.labels.dtype) == ((5, 3), np.int64)
    assert len(data) == 5
    assert data.attributes == ATTRIBUTES
    assert "Pablo Stanley" in data.credit
    assert list_data().keys() == SETS.keys()


def must_not_draw(*_arguments: object) -> None:
    raise AssertionError("drew faces that were cached")


def test_the_second_call_reads_what_the_first_drew(monkeypatch):
    first = avatar_faces(BALANCED, 35, 6, 16, workers=1)
    assert len(first.images) == len(first) == 6
    monkeypatch.setattr(avatars, "_draw_block", must_not_draw)
    second = avatar_faces(BALANCED, 35, 6, 16, workers=1)
    np.testing.assert_array_equal(first.images, second.images)
    assert first.digest == second.digest
    with pytest.raises(AssertionError, match="drew faces"):
        avatar_faces(BALANCED, 35, 7, 16, workers=1).images  # noqa: B018 -- looking is what draws


def test_hash_and_length_are_known_without_drawing(monkeypatch):
    monkeypatch.setattr(avatars, "_draw_block", must_not_draw)
    data = load_data("avatars-biased", size=16)
    assert (len(data), data.name, len(data.digest)) == (20_000, "avatars-biased", 64)
    with pytest.raises(AssertionError, match="drew faces"):
        data.column(ATTRIBUTES)


def test_a_damaged_cache_is_drawn_again(cache):
    first = avatar_faces(BALANCED, 36, 6, 16, workers=1)
    wanted = np.array(first.images)
    path = cache / "data" / f"avatars-{first.digest[:16]}" / "images.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 255
    path.unlink()
    path.write_bytes(data)
    again = avatar_faces(BALANCED, 36, 6, 16, workers=1)
    np.testing.assert_array_equal(again.images, wanted)
    assert path.read_bytes() != bytes(data)


def test_bad_input_is_said_in_a_sentence():
    with pytest.raises(ConfigError, match=r"must have shape \(2, 3, 2\), got \(3, 2, 2\)"):
        avatar_faces(BALANCED.transpose(1, 0, 2), 0, 1)
    with pytest.raises(ConfigError, match=r"must sum to 1, .* sums to 2"):
        avatar_faces(2 * BALANCED, 0, 1)
    with pytest.raises(ConfigError, match="must have entries >= 0"):
        avatar_faces(-BALANCED, 0, 1)
    with pytest.raises(ConfigError, match="number of faces must be at least 1, got 0"):
        load_data("avatars-biased", 0)
    with pytest.raises(ConfigError, match="must be 8 to 1024 pixels, got 7"):
        load_data("avatars-biased", 1, 7)
    with pytest.raises(UnknownName, match=r"unknown data set 'avatar-biased'; did you mean 'avatars-biased'"):
        load_data("avatar-biased")


# Rows of a 64-pixel face (a beard begins at the ears); zoom and shift move its parts by up to 5 pixels either way.
WHERE = {"glasses": (0, slice(16, 40)), "hair": (2, slice(20, 64))}


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize(("axis", "rows"), WHERE.values(), ids=WHERE)
def test_an_attribute_changes_its_own_part_of_the_face_only(axis, rows, index):
    with_it, without = [0, 1, 0], [0, 1, 0]
    with_it[axis] = 1
    changed = (draw_face(tuple(with_it), 37, index, 64) != draw_face(tuple(without), 37, index, 64)).any(0)
    assert changed.sum() > 40, "the attribute is drawn"
    outside = changed.copy()
    outside[rows] = False
    assert not outside.any(), f"rows {np.unique(np.nonzero(outside)[0])} changed as well"


def test_skin_tone_changes_the_brightness_and_keeps_the_background():
    faces = [draw_face((0, tone, 0), 38, 1, 64).astype(float) for tone in range(3)]
    light, medium, dark = (face.mean() for face in faces)
    assert light > medium + 5 > dark + 10
    np.testing.assert_array_equal(faces[0][:, 0, 0], faces[2][:, 0, 0])


A, B, C = Attribute("a", ("a0", "a1")), Attribute("b", ("b0", "b1", "b2")), Attribute("c", ("c0", "c1"))


@pytest.fixture
def asymmetric():
    """A joint whose every reordering and marginal differs: entry (a, b, c) is proportional to its place + 1."""
    joint = np.arange(1, 13, dtype=float).reshape(2, 3, 2) / 78
    labels = np.array([[0, 2, 1], [1, 0, 1], [1, 1, 0]])
    return LabelledImages("x", np.zeros((3, 3, 8, 8), np.uint8), labels, (A, B, C), joint, "")


def test_column_follows_the_asked_order(asymmetric):
    assert asymmetric.column((B,)).tolist() == [2, 0, 1]
    assert asymmetric.column((A, B)).tolist() == [2, 3, 4]  # 3 a + b
    assert asymmetric.column((B, A)).tolist() == [4, 1, 3]  # 2 b + a
    assert asymmetric.column((C, A, B)).tolist() == [8, 9, 4]  # 6 c + 3 a + b


def test_declared_follows_the_asked_order(asymmetric):
    every = (A, B, C)
    for count in (1, 2, 3):
        for asked in itertools.permutations(range(3), count):
            wanted = [
                sum(
                    asymmetric.joint[place]
                    for place in np.ndindex(2, 3, 2)
                    if all(place[axis] == value for axis, value in zip(asked, values, strict=True))
                )
                for values in itertools.product(*(range(every[axis].n_classes) for axis in asked))
            ]
            found = asymmetric.declared(tuple(every[axis] for axis in asked))
            np.testing.assert_allclose(found, wanted, err_msg=str(asked))


def test_names_of_the_joint_are_in_the_order_of_its_labels():
    assert product((A, B)).classes == ("a0+b0", "a0+b1", "a0+b2", "a1+b0", "a1+b1", "a1+b2")
    assert product((B,)) == B
