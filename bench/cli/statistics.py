"""`statistics`: a reference as the file that Frechet distances need of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli import screen
from bench.core.errors import ConfigError


def statistics(
    source: Annotated[
        str, typer.Argument(metavar="REFERENCE|FOLDER", help="A data set's name, or a finished run's folder.")
    ],
    features: Annotated[str, typer.Option(help="The extractor, such as efficientnet_lite0, inception or dinov2.")],
    out: Annotated[Path, typer.Option(help="FILE.npz; clean-fid and pytorch-fid read it.")],
    field: Annotated[
        list[str] | None, typer.Option(help="A field of the extractor, as in a suite: KEY=VALUE; may be repeated.")
    ] = None,
    n: Annotated[int | None, typer.Option(help="Images of the data set; its own number unless given.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the data set's images in pixels; 32 unless given.")] = None,
    method: Annotated[str | None, typer.Option(help="Of a run with several: the method.")] = None,
    task: Annotated[str | None, typer.Option(help="Likewise: the task's name or attributes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Likewise: the seed.")] = None,
) -> None:
    """Write mean and covariance of the features of a data set, or of the samples of a run."""
    from bench.data import list_data

    if out.suffix != ".npz":
        raise ConfigError(f"--out must end in .npz, by which others know such a file, got {out}")
    sets = list_data()
    chosen = {"--method": method, "--task": task, "--seed": seed} if source in sets else {"--n": n, "--size": size}
    for option, value in chosen.items():
        if value is not None:
            kind, right = ("data set", "run") if source in sets else ("run", "data set")
            raise ConfigError(f"{option} is for a {right}, got it with the {kind} {source}; leave it out")
    if source not in sets and not Path(source).exists():
        raise ConfigError(
            f"a data set ({', '.join(sets)}) or the folder of a finished run must be named, got {source!r}"
        )

    from bench.config.build import build_extractor
    from bench.core.specs import ExtractorSpec, Fields
    from bench.engine.feature_statistics import of_run, of_set
    from bench.storage.gaussian_files import write_statistics

    extractor = build_extractor(ExtractorSpec(features, Fields(_fields(field or [])), features))
    if source in sets:
        fitted = of_set(source, extractor, n, 32 if size is None else size)
    else:
        fitted = of_run(Path(source), extractor, method, task, seed)
    write_statistics(out, fitted, extractor.digest)
    screen.out.print(
        f"{out}: mu [{fitted.mean.size}] and sigma [{fitted.mean.size}, {fitted.mean.size}] of {features}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _fields(texts: list[str]) -> dict[str, Any]:
    import json

    import yaml

    fields: dict[str, Any] = {}
    for item in texts:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise ConfigError(f"--field must be KEY=VALUE, got {item!r}; for example --field size=64")
        try:
            fields[key] = yaml.safe_load(text)
            json.dumps(fields[key])  # refuses what JSON has not, such as a date
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise ConfigError(
                f"--field {key} must be a number, a text, a list or a mapping, got {text!r}; quote a text"
            ) from error
    return fields
