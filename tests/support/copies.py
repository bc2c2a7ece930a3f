"""Small copies of public image sets, laid out and written in exactly their formats."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CELEBA = (  # noqa: SIM905 -- as the second line of the list has them
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young"
).split()
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def picture(index: int, width: int = 48, height: int = 40, **options: Any) -> bytes:
    """An image file of smooth random colours, a JPEG unless told."""
    rng = np.random.default_rng(index)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    file = io.BytesIO()
    small.resize((width, height), Image.Resampling.BILINEAR).save(file, **{"format": "JPEG", "quality": 90, **options})
    return file.getvalue()


def put(path: Path, data: bytes | str) -> Path:
    """Write a file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    """Write rows, the header among them."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return put(path, text.getvalue())


def class_folders(root: Path, n: int = 6, classes: Sequence[str] = ("cat", "dog"), side: int = 40) -> Path:
    """CLASS/*.jpg, the second class with a folder in its folder."""
    for k, name in enumerate(classes):
        for i in range(n):
            inner = "more/" if k == 1 and i % 2 else ""
            put(root / name / f"{inner}{i}.jpg", picture(100 * k + i, side, side))
    return root


def labelled_folder(root: Path, n: int = 12, **extra: Sequence[str]) -> Path:
    """images/*.png with labels.csv: file, gender, age."""
    rows: list[Sequence[Any]] = [("file", "gender", "age", *extra)]
    for i in range(n):
        put(root / f"images/{i}.png", picture(i, format="PNG"))
        rows.append(
            (f"images/{i}.png", ("female", "male")[i % 2], 10 + 5 * i, *(values[i] for values in extra.values()))
        )
    write_csv(root / "labels.csv", rows)
    return root


def attribute_rows(files: Sequence[str], gaps: bool) -> tuple[str, np.ndarray]:
    """An attribute list of random values, and these; `gaps` puts two spaces before a 1, as CelebA does."""
    values = np.random.default_rng(len(files)).choice([-1, 1], (len(files), 40))
    form = "{:2d}" if gaps else "{}"
    lines = [f"{file} " + " ".join(form.format(v) for v in row) for file, row in zip(files, values, strict=True)]
    return "\n".join([str(len(files)), " ".join(CELEBA) + (" " if gaps else ""), *lines, ""]), values


def celeba(root: Path, n: int = 12) -> Path:
    """CelebA with every file that torchvision reads: two thirds train, then valid and test."""
    base = root / "celeba"
    files = [f"{i + 1:06d}.jpg" for i in range(n)]
    for i, file in enumerate(files):
        put(base / "img_align_celeba" / file, picture(i, 178, 218))
    put(base / "list_attr_celeba.txt", attribute_rows(files, gaps=True)[0])
    splits = [0 if i < n * 2 // 3 else 1 + (i % 2) for i in range(n)]
    put(base / "list_eval_partition.txt", "".join(f"{f} {s}\n" for f, s in zip(files, splits, strict=True)))
    put(base / "identity_CelebA.txt", "".join(f"{f} {i}\n" for i, f in enumerate(files)))
    boxes = "".join(f"{f} 95  71 226 313\n" for f in files)
    put(base / "list_bbox_celeba.txt", f"{n}\nimage_id x_1 y_1 width height\n{boxes}")
    marks = "".join(f"{f} " + " ".join(map(str, range(60, 70))) + "\n" for f in files)
    names = " ".join(f"{part}_{axis}" for part in ("lefteye", "righteye", "nose", "lm", "rm") for axis in "xy")
    put(base / "list_landmarks_align_celeba.txt", f"{n}\n{names}\n{marks}")
    return root


def celeba_hq(root: Path, originals: Sequence[int] = (1, 119614, 162770, 162771, 182637, 182638, 202599)) -> Path:
    """CelebAMask-HQ: images made from these numbers of CelebA."""
    files = [f"{i}.jpg" for i in range(len(originals))]
    for i, file in enumerate(files):
        put(root / "CelebA-HQ-img" / file, picture(i, 64, 64))
    put(root / "CelebAMask-HQ-attribute-anno.txt", attribute_rows(files, gaps=False)[0])
    lines = [f"{i:<12}{o - 1:<12}{o:06d}.jpg" for i, o in enumerate(originals)]
    put(root / "CelebA-HQ-to-CelebA-mapping.txt", "\n".join(["idx         orig_idx    orig_file", *lines, ""]))
    return root


def ffhq(root: Path, n: int = 8) -> Path:
    """FFHQ in folders of a thousand, and a JSON an image as ffhq-features-dataset has; the last has no face."""
    for i in range(n):
        put(root / f"images1024x1024/00000/{i:05d}.png", picture(i, 64, 64, format="PNG"))
        attributes = {
            "smile": i / 10,
            "headPose": {"pitch": 0.0, "roll": -1.5, "yaw": 2.0},
            "gender": ("male", "female")[i % 2],
            "age": 5.0 + 10 * i,
            "facialHair": {"moustache": 0.1, "beard": 0.4, "sideburns": 0.0},
            "glasses": ("NoGlasses", "ReadingGlasses", "Sunglasses")[i % 3],
            "makeup": {"eyeMakeup": i % 2 == 1, "lipMakeup": False},
            "accessories": [{"type": "headwear", "confidence": 0.9}],
        }
        face = {"faceId": f"{i:08d}", "faceRectangle": {"top": 1, "left": 2, "width": 3, "height": 4}}
        faces = [{**face, "faceAttributes": attributes}] if i < n - 1 else []
        put(root / f"json/{i:05d}.json", json.dumps(faces))
    aging = [("image_number", "age_group", "gender"), *((i, "20-29" if i % 2 else "3-6", "male") for i in range(n))]
    write_csv(root / "ffhq_aging_labels.csv", aging)
    return root


def fairface(root: Path, n: int = 9) -> Path:
    """FairFace, padding 0.25."""
    races = ("East Asian", "White", "Latino_Hispanic", "Southeast Asian", "Black", "Indian", "Middle Eastern")
    ages = ("50-59", "30-39", "3-9", "20-29", "40-49", "more than 70", "0-2", "10-19", "60-69")
    for split in ("train", "val"):
        rows: list[Sequence[Any]] = [("file", "age", "gender", "race", "service_test")]
        for i in range(1, n + 1):
            put(root / f"{split}/{i}.jpg", picture(i, 224, 224))
            gender = ("Male", "Female")[i % 2]
            rows.append((f"{split}/{i}.jpg", ages[i % 9], gender, races[i % 7], i % 2 == 0))
        write_csv(root / f"fairface_label_{split}.csv", rows)
    return root


def utkface(root: Path) -> Path:
    """Aligned and cropped UTKFace, with two of the names that lack the race."""
    names = ["100_0_0_20170112213500903", "26_1_2_20170116184024662", "1_0_4_20161219222752047", "35_1_3_20170117"]
    for i, name in enumerate([*names, "39_1_20170116174525125", "61_1_20170109150557335"]):
        put(root / f"UTKFace/{name}.jpg.chip.jpg", picture(i, 200, 200))
    return root


def cifar(root: Path, n: int = 3) -> tuple[Path, np.ndarray, np.ndarray]:
    """The binary CIFAR-10 with n images a batch; images uint8 [6 n, 3, 32, 32] and labels, the test batch last."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (6 * n, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(6 * n, dtype=np.uint8) % 10
    folder = root / "cifar-10-batches-bin"
    for b, name in enumerate([*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]):
        rows = range(b * n, b * n + n)
        put(folder / name, b"".join(bytes([labels[i]]) + images[i].tobytes() for i in rows))
    put(folder / "batches.meta.txt", "\n".join(CIFAR) + "\n\n")
    return root, images, labels


def parquet(root: Path, n: int = 10, **columns: Sequence[Any]) -> Path:
    """Two files of several row groups, with the metadata that `datasets` writes for a ClassLabel."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {"image": {"_type": "Image"}, "label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    meta = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    root.mkdir(parents=True, exist_ok=True)
    for part in range(2):
        rows = range(part * n, part * n + n)
        images = [{"bytes": picture(i, format="PNG"), "path": f"{i}.png"} for i in rows]
        found = {"image": images, "label": [i % 2 for i in rows], "score": [i / 4 for i in rows]}
        found |= {name: [values[i] for i in rows] for name, values in columns.items()}
        table = pa.table(found).replace_schema_metadata(meta)
        pq.write_table(table, root / f"train-{part:05d}-of-00002.parquet", row_group_size=4)
    return root
