"""The table of metrics, by their key in files. Each task creates its metric, see tasks/."""

from __future__ import annotations

from typing import Any

from ttt_cli.metrics.base import Metric
from ttt_cli.metrics.color import ColorMetric
from ttt_cli.metrics.instance import InstanceMetric
from ttt_cli.metrics.panoptic import PanopticMetric
from ttt_cli.metrics.semantic import SemanticMetric

METRICS: dict[str, type[Metric]] = {
    metric.key: metric for metric in (SemanticMetric, InstanceMetric, PanopticMetric, ColorMetric)
}


def metric_from_json(content: dict[str, Any]) -> Metric:
    """Reads the output of `Metric.as_json`. Raises KeyError, TypeError or ValueError for anything else."""
    metric = METRICS[content["key"]].from_counts(content)
    metric.frame_scores = [float("nan") if score is None else float(score) for score in content["frame_scores"]]
    metric.unlabeled = frozenset(content.get("unlabeled", ()))
    return metric
