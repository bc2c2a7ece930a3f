"""The attribute classifier that a method is guided by, or chooses samples by."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.core.attributes import Attribute
from bench.core.errors import Incompatible
from bench.protocols.method import Classifier, Task


def find_classifier(task: Task, name: str) -> Classifier:
    """Return the classifier of a name, after checking that it predicts the task's attributes for the model's samples.

    Raises:
        Incompatible: there are no classifiers, this one lacks an attribute or has other classes of it, or it does not
            take samples of the model's shape.
    """
    if task.classifier is None:
        raise Incompatible("there are no classifiers to guide with; give the task a way to find them by name")
    classifier = task.classifier(name)
    predicted = {a.name: a for a in classifier.attributes}
    for attribute in task.attributes:
        if attribute.name not in predicted:
            raise Incompatible(
                f"classifier {name} does not read {attribute.name}, only {', '.join(predicted) or 'nothing'}; "
                "guide with one that does"
            )
        if predicted[attribute.name] != attribute:
            raise Incompatible(
                f"classifier {name} divides {attribute.name} into "
                f"{', '.join(predicted[attribute.name].classes)}, the task "
                f"into {', '.join(attribute.classes)}; guide with one that divides it alike"
            )
    with torch.no_grad():  # raises Incompatible for samples that are no images of its size, such as latents
        classifier.logits(torch.zeros(1, *task.model.shape, dtype=task.model.dtype, device=task.model.device))
    return classifier


def joint_log_probabilities(logits: Mapping[str, Tensor], attributes: tuple[Attribute, ...]) -> Tensor:
    """Return log p [n, K] of the joint of attributes that the classifier predicts independently, the last fastest."""
    joint, *log_p = (logits[a.name].log_softmax(1) for a in attributes)
    for log_p_k in log_p:
        joint = (joint[:, :, None] + log_p_k[:, None, :]).flatten(1)
    return joint
