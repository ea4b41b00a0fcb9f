"""Trained heads and networks as a notebook uses them."""

from __future__ import annotations

from typing import Any

from affectkit import tasks
from affectkit.api.clip_tables import PredictionTable
from affectkit.api.outputs import StageOutput
from affectkit.plugins import ModelCard
from affectkit.stages.model_card import card_of, members_of, task_of


class TrainedModel(StageOutput):
    """A head or a fine-tuned network, what `train_head` and `finetune` return, or what a bundle holds."""

    @property
    def task(self) -> tasks.Task:
        """What it predicts."""
        return task_of(self.artifact)

    @property
    def card(self) -> ModelCard:
        """What is known of it: data, scores, licences, the crop that it must be given."""
        return card_of(self.artifact)

    @property
    def val_score(self) -> float:
        """The task's metric on the validation clips, the mean over seeds; NaN where there were none."""
        mean = self.report.get("val_score", {"mean": None})["mean"]
        return float("nan") if mean is None else float(mean)

    def predict(self, inputs: Any, **options: Any) -> PredictionTable:
        """Scores from features (of a network: crops or sound) or from media: `affectkit.predict` of this model."""
        import affectkit

        table: PredictionTable = affectkit.predict(self, inputs, **options)
        return table

    def _counts(self) -> dict[str, Any]:
        if "val_score" not in self.report:
            return {"models": len(members_of(self.artifact))}
        score = self.report["val_score"]
        return {f"val {score['metric']}": "none" if score["mean"] is None else f"{score['mean']:.4f}"}
