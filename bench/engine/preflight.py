"""Check everything that a suite names before the first sample is drawn."""

from __future__ import annotations

from typing import Any

from bench.config.suite import Suite
from bench.core.errors import ConfigError, Incompatible
from bench.core.progress import console
from bench.engine.options import Options


def prepare(suite: Suite, options: Options) -> tuple[list[Any], int]:
    """Check everything that the suite names, before the first sample.

    Returns:
        The work of every cell with what all share, and the side of the images.
    """
    works, size, sets = checked(suite, options)
    for data in sets:
        assert len(data.images) == len(data)  # drawn here, on every core, and not by each worker for itself
    return works, size


def checked(suite: Suite, options: Options) -> tuple[list[Any], int, list[Any]]:
    """As `prepare`, without drawing a face, and with the image sets that the run will look at."""
    import torch

    from bench.config.build import built_methods
    from bench.data import print_left_out
    from bench.engine.cells import cells
    from bench.engine.plan import guides, learnt_from, needs, plan
    from bench.engine.prompts import read_prompts
    from bench.engine.reference_statistics import given_statistics
    from bench.engine.resources import counted_model, data_set, extractor, guide
    from bench.engine.work import Classifier, Context, joined_key
    from bench.sampling.loop import Sampler

    _check_device(options.device)
    _check_ranks(options)
    needed = needs(suite.metrics)
    downstream = suite.downstream.sets if suite.downstream and "downstream" in needed else {}
    for name in (*suite.references, *downstream, *learnt_from(suite).values()):
        suite.source(name)  # refuses a name that no set has
    classifiers, features, missing = _specs(suite)
    classifier = extractor(classifiers[0])
    for name in guides(suite):
        if not hasattr(guide(name), "logits"):
            raise ConfigError(f"a method's classifier must be differentiable, with `logits`, got {name}")
    for spec in classifiers:  # refused here, before models are loaded and references drawn
        cells(suite, extractor(spec).attributes, options.only)
    prompts = read_prompts(suite, options.device, extractor(classifiers[0]).attributes)
    fields = prompts[0].fields if prompts else suite.model.settings
    model: Any = counted_model(suite.model.name, options.device, fields)
    size = model.image_size
    Sampler(**suite.sampler.model_dump()).timesteps(model)  # refuses more steps than the model has
    blank = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    seen = {spec: extractor(spec).extract(blank) for spec in (*classifiers, *features)}  # refuses what it cannot see
    widths = {s: (extractor(s), seen[s]["features"].shape[1]) for s in features if "features" in seen[s]}
    data_set.cache_clear()
    references = {name: data_set(suite.source(name), n, size) for name, n in suite.references.items()}
    learnt = [data_set(suite.source(name), n, size) for name, n in downstream.items()]
    if len({data.attributes for data in learnt}) > 1:
        raise ConfigError(
            f"the sets of downstream must have the same attributes, got others in {', '.join(downstream)}"
        )
    places = {place: data_set(suite.source(name), None, size) for place, name in learnt_from(suite).items()}
    print_left_out([*references.values(), *learnt, *places.values()])
    context = Context(
        model_digest=joined_key([p.model_digest for p in prompts]) if prompts else model.digest,
        data_digests={place: data.digest for place, data in places.items()},
        guide_digests={name: guide(name).digest for name in guides(suite)},
        classifiers=tuple(Classifier(s.title, extractor(s).digest, dict(extractor(s).confusion)) for s in classifiers),
        feature_digests=tuple(extractor(s).digest for s in features),
        reference_digests=tuple(d.digest for d in references.values()),
        statistics=given_statistics(suite, widths),
        downstream_digests=tuple(d.digest for d in learnt),
        prompts=prompts,
    )
    store = options.out / "store"
    specs = (classifiers, features, missing)
    works = plan(
        suite, classifier.attributes, context, store, options.device, options.compute_batch, specs, options.only
    )
    methods = built_methods(suite)
    asked = dict.fromkeys(w.cell.attributes for w in works if "labelled" in methods[w.cell.title].traits.needs)
    labelled = [places["labelled"]] if asked else []
    for attributes in asked:
        labelled[0].places(attributes)  # refuses a task about what the set does not know
    return [(w, context) for w in works], size, [*references.values(), *learnt, *labelled]


def _specs(suite: Suite) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[tuple[str, str], ...]]:
    """The classifiers and the feature extractors that can be made here, and title and reason of those that cannot."""
    from bench.engine.resources import extractor

    missing: dict[str, str] = {}
    for spec in (*suite.classifiers[1:], *(choice.spec for choice in suite.features)):
        try:
            extractor(spec)
        except Incompatible as error:
            missing[spec.title] = str(error)
            console.print(f"skipped: {spec.title}: {error}", markup=False, soft_wrap=True)
    classifiers = tuple(spec for spec in suite.classifiers if spec.title not in missing)
    for spec in classifiers:
        if not hasattr(extractor(spec), "attributes"):
            raise ConfigError(f"an attribute classifier must give probabilities of attributes, got {spec.name}")
    features = tuple(choice.spec for choice in suite.features if choice.spec.title not in missing)
    return classifiers, features, tuple(missing.items())


def _check_device(device: str) -> None:
    import torch

    try:
        torch.zeros(1, device=device).item()  # read back: "meta" has no values
    except (RuntimeError, AssertionError, ImportError) as error:
        first = str(error).strip().splitlines()[0].split(". ")[0]
        raise ConfigError(f"device {device!r} cannot be used here: {first}; try --device cpu") from error


def _check_ranks(options: Options) -> None:
    import torch

    if options.processes is None or torch.device(options.device).type != "cuda":
        return
    if options.device != "cuda" or options.processes > torch.cuda.device_count():
        raise ConfigError(
            f"--ranks takes one GPU each, the first ones: with {options.processes} ranks give --device cuda on a machine "
            f"of as many GPUs, got --device {options.device} and {torch.cuda.device_count()} GPUs"
        )
