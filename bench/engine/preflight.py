"""Preflight: check everything that a suite names before the first sample is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from bench.config.build import build_method
from bench.config.data_source import ImageSetSpec
from bench.config.suite import Suite
from bench.core.errors import ConfigError, Incompatible
from bench.core.progress import console
from bench.core.specs import ExtractorSpec
from bench.data import print_left_out
from bench.engine.cell_job import CellJob, SamplingSpec, ScoringSpec
from bench.engine.cells import cells
from bench.engine.context import ClassifierRecord, RunContext
from bench.engine.keys import joined_key
from bench.engine.options import Options
from bench.engine.plan import Shared, guides, learnt_from, needs, plan
from bench.engine.prompts import Prompt, read_prompts
from bench.engine.reference_statistics import reference_statistics
from bench.engine.resources import Resources
from bench.models.bf16 import slow_sentence
from bench.protocols.images import LabelledImages
from bench.sampling.loop import Sampler


@dataclass(frozen=True)
class RunPlan:
    """A run that has been checked and not begun.

    Attributes:
        suite: what to run.
        options: how to run it.
        context: what every cell shares, by content.
        jobs: one per cell, in the order of tasks, methods and seeds.
        image_size: side of an image.
        image_sets: the image sets that the run looks at; faces among them are drawn by `draw_images`.
        resources: what the checks loaded.
    """

    suite: Suite
    options: Options
    context: RunContext
    jobs: tuple[CellJob, ...]
    image_size: int
    image_sets: tuple[LabelledImages, ...]
    resources: Resources

    @property
    def scoring(self) -> ScoringSpec:
        """Return the extractors and references that every cell is scored by."""
        return self.jobs[0].scoring

    def draw_images(self) -> None:
        """Draw the faces of the image sets now, on every core, so that no worker draws them for itself."""
        for images in self.image_sets:
            images.load()


def preflight(suite: Suite, options: Options, resources: Resources | None = None) -> RunPlan:
    """Check everything that a suite names, and plan its cells. No face is drawn, nothing is sampled or written.

    Args:
        suite: what to run.
        options: how to run it.
        resources: of this process; image sets are read anew.

    Raises:
        ConfigError: something in the suite or the options cannot be run here.
    """
    resources = resources or Resources()
    resources.forget_images()
    _check_device(options)
    _check_names(suite)
    extractors = _available_extractors(suite, options, resources)
    attributes = resources.extractor(extractors.classifiers[0]).attributes
    prompts = read_prompts(suite, options.device, attributes, resources)
    size, model_digest = _check_model(suite, options, prompts, resources)
    widths = _feature_widths(extractors, size, resources)
    sets = _image_sets(suite, size, resources)
    context = RunContext(
        model_digest=model_digest,
        learning_digests={need: resources.images(spec).digest for need, spec in sets.learning.items()},
        guide_digests={name: resources.guide(name).digest for name in guides(suite)},
        classifiers=tuple(_classifier_record(spec, resources) for spec in extractors.classifiers),
        feature_digests=tuple(resources.extractor(spec).digest for spec in extractors.features),
        reference_digests=tuple(resources.images(spec).digest for spec in sets.references.values()),
        statistics=reference_statistics(suite, widths),
        downstream_digests=tuple(resources.images(spec).digest for spec in sets.downstream.values()),
        prompts=prompts,
    )
    sampling = SamplingSpec(
        suite.model.spec, suite.sampler.spec, sets.learning, suite.guidance_batch, suite.guidance_batch, options.device
    )
    scoring = dataclasses.replace(
        extractors,
        references=sets.references,
        statistics=context.statistics,
        downstream=suite.downstream if sets.downstream else None,
        downstream_sets=sets.downstream,
    )
    shared = Shared(sampling, scoring, options.store, suite.n, context)
    jobs = plan(suite, attributes, shared, options.compute_batch, options.only)
    image_sets = _checked_learning(jobs, sets, resources)
    return RunPlan(suite, options, context, jobs, size, image_sets, resources)


def _check_device(options: Options) -> None:
    """Refuse a device that cannot be used here, or that is not one GPU per distributed process."""
    try:
        torch.zeros(1, device=options.device).item()  # read back: "meta" has no values
    except (RuntimeError, AssertionError, ImportError) as error:
        first = str(error).strip().splitlines()[0].split(". ")[0]
        raise ConfigError(f"device {options.device!r} cannot be used here: {first}; try --device cpu") from error
    if options.processes is None or torch.device(options.device).type != "cuda":
        return
    if options.device != "cuda" or options.processes > torch.cuda.device_count():
        raise ConfigError(
            f"--ranks takes one GPU per process, the first ones: with {options.processes} processes give --device cuda "
            f"on a machine of as many GPUs, got --device {options.device} and {torch.cuda.device_count()} GPUs"
        )


def _check_names(suite: Suite) -> None:
    """Refuse the name of an image set that does not exist, before anything is loaded."""
    for name in (*suite.references, *_downstream(suite), *learnt_from(suite).values()):
        suite.source(name)


def _downstream(suite: Suite) -> dict[str, int]:
    """Return name and number of images of the sets of the downstream test; none where no metric needs them."""
    return suite.downstream.sets if suite.downstream and "downstream" in needs(suite.metrics) else {}


def _available_extractors(suite: Suite, options: Options, resources: Resources) -> ScoringSpec:
    """Return the classifiers and feature extractors that can be made here, and the reasons of those that cannot.

    Raises:
        ConfigError: a classifier gives no probabilities or no gradient where one is needed; or see `cells`.
    """
    unavailable: dict[str, str] = {}
    for spec in (*suite.classifiers[1:], *(choice.spec for choice in suite.features)):
        try:
            resources.extractor(spec)
        except Incompatible as error:
            unavailable[spec.title] = str(error)
            console.print(f"skipped: {spec.title}: {error}", markup=False, soft_wrap=True)
    classifiers = tuple(spec for spec in suite.classifiers if spec.title not in unavailable)
    for spec in classifiers:
        if not hasattr(resources.extractor(spec), "attributes"):
            raise ConfigError(f"an attribute classifier must give probabilities of attributes, got {spec.name}")
    for name in guides(suite):
        if not hasattr(resources.guide(name), "logits"):
            raise ConfigError(f"a method's classifier must be differentiable, with `logits`, got {name}")
    for spec in classifiers:  # refused here, before models are loaded and references drawn
        cells(suite, resources.extractor(spec).attributes, options.only)
    features = tuple(choice.spec for choice in suite.features if choice.spec.title not in unavailable)
    return ScoringSpec(suite.metrics, classifiers, features, tuple(unavailable.items()))


def _check_model(suite: Suite, options: Options, prompts: tuple[Prompt, ...], resources: Resources) -> tuple[int, str]:
    """Return the side of the model's images and its digest; refuse steps that do not fit, say what makes it slow."""
    model = resources.model(prompts[0].model if prompts else suite.model.spec, options.device)
    settings = {"precision": suite.sampler.precision, "dtype": dict(suite.model.spec.fields).get("dtype")}
    slow = slow_sentence(settings, options.device)
    if slow is not None:
        console.print(slow, markup=False, soft_wrap=True)
    Sampler.of(suite.sampler.spec).timesteps(model)
    digest = joined_key([p.model_digest for p in prompts]) if prompts else model.digest
    return int(model.image_size), str(digest)


def _feature_widths(scoring: ScoringSpec, size: int, resources: Resources) -> dict[str, tuple[str, int]]:
    """Return the digest and width of each extractor of features, by its title; refuse images that one cannot see."""
    blank = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    arrays = {spec: resources.extractor(spec).extract(blank) for spec in scoring.extractors}
    return {
        spec.title: (resources.extractor(spec).digest, arrays[spec]["features"].shape[1])
        for spec in scoring.features
        if "features" in arrays[spec]
    }


def _classifier_record(spec: ExtractorSpec, resources: Resources) -> ClassifierRecord:
    classifier = resources.extractor(spec)
    return ClassifierRecord(spec.title, classifier.digest, dict(classifier.confusion))


@dataclass(frozen=True, slots=True)
class _ImageSets:
    """The image sets of a suite, by their names there, or in a task."""

    references: Mapping[str, ImageSetSpec]
    downstream: Mapping[str, ImageSetSpec]
    learning: Mapping[str, ImageSetSpec]


def _image_sets(suite: Suite, size: int, resources: Resources) -> _ImageSets:
    """Return the image sets of a suite, each of which can be read; say which files are left out."""
    sets = _ImageSets(
        {name: ImageSetSpec(suite.source(name), n, size) for name, n in suite.references.items()},
        {name: ImageSetSpec(suite.source(name), n, size) for name, n in _downstream(suite).items()},
        {need: ImageSetSpec(suite.source(name), None, size) for need, name in learnt_from(suite).items()},
    )
    opened = [resources.images(spec) for spec in (*sets.references.values(), *sets.downstream.values())]
    unlabelled = next((name for name, spec in sets.downstream.items() if not resources.images(spec).attributes), None)
    if unlabelled is not None:
        raise ConfigError(f"the sets of downstream must have labels, got none of {unlabelled}; give its `attributes`")
    if len({resources.images(spec).attributes for spec in sets.downstream.values()}) > 1:
        raise ConfigError(
            f"the sets of downstream must have the same attributes, got others in {', '.join(sets.downstream)}"
        )
    print_left_out([*opened, *(resources.images(spec) for spec in sets.learning.values())])
    return sets


def _checked_learning(jobs: tuple[CellJob, ...], sets: _ImageSets, resources: Resources) -> tuple[LabelledImages, ...]:
    """Return the image sets that the run looks at; refuse a task about attributes that the labelled set has not."""
    opened = [resources.images(spec) for spec in (*sets.references.values(), *sets.downstream.values())]
    by_setting = {(job.cell.method, job.cell.fields): build_method(job.cell.method, job.cell.fields) for job in jobs}
    learning = [job.cell for job in jobs if "labelled" in by_setting[job.cell.method, job.cell.fields].traits.needs]
    tasks = dict.fromkeys(cell.attributes for cell in learning)
    if tasks:
        labelled = resources.images(sets.learning["labelled"])
        for attributes in tasks:
            labelled.columns_of(attributes)
        opened.append(labelled)
    return tuple(opened)
