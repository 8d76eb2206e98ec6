"""Our own two-headed model as what is trained, from ImageNet's encoder or from weights of the same size."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

from ttt_cli.core.choices import choices
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.model.own import OwnWeights, is_own, save_weights
from ttt_cli.model.split import SplitModel
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.training.objectives import OBJECTIVES
from ttt_cli.training.recipe import Recipe
from ttt_cli.training.stills import Split
from ttt_cli.training.subject import Measured, Subject, have_same_names


class OwnSubject(Subject):
    """A model of ours, written as one file."""

    def __init__(self, recipe: Recipe, split: Split, start: OwnWeights | None) -> None:
        """start: weights to start from. A g of another size starts anew.

        Raises TttvError if f or h are of another size, or the classes are others.
        """
        if recipe.objective not in OBJECTIVES:
            known = choices(recipe.objective, OBJECTIVES)
            raise UsageError(f"objective {printable(recipe.objective)!r} is unknown; {known}")
        if recipe.new_classifier:
            raise UsageError("new_classifier: is only for published models, which start names")
        objective = OBJECTIVES[recipe.objective]
        self.recipe = recipe
        self.classes = objective.classes_of(split)
        self.model = TwoHeadedModel(recipe.model, len(self.classes), pretrained_encoder=recipe.imagenet)
        if start is not None:
            self._fill(self.model, start)
        self.objective = objective(recipe, split)

    def _fill(self, model: TwoHeadedModel, weights: OwnWeights) -> None:
        shown = printable(weights.path)
        if not weights.model_size.has_same_f_and_h(self.recipe.model):
            raise TttvError(f"{shown}: of another size than the recipe's model; see start there")
        if not have_same_names(weights.classes, self.classes):
            raise TttvError(f"{shown}: has other classes than the recipe's sources; see start there")
        known = weights.load_alone()
        if weights.model_size != self.recipe.model:
            known.reconstruction_head = model.reconstruction_head
        state = known.state_dict()
        model.load_state_dict({name: state[name] for name in model.state_dict()})

    def path_in(self, folder: Path) -> Path:
        """A file named after the recipe."""
        return folder / f"{self.recipe.name}.safetensors"

    def is_ours(self, path: Path) -> bool:
        """Whether it is a weights file of ours."""
        return is_own(path)

    def save(self, model: SplitModel, path: Path, measured: Measured) -> None:
        """Writes the file with everything needed to use it. Raises TttvError as `check_place` does."""
        self.check_place(path)
        assert isinstance(model, TwoHeadedModel), "it is of the same kind"
        model = copy.deepcopy(model)
        model.ordinary_features = measured.features
        recipe = self.recipe
        record = OwnWeights(
            path=path,
            name=recipe.name,
            tasks=self.objective.tasks,
            classes=self.classes,
            license=recipe.license,
            model_size=recipe.model,
            reconstruction=replace(recipe.reconstruction, familiar_loss=measured.familiar_loss),
            adaptation=recipe.adaptation,
            ordinary=measured.ordinary,
            exposure=recipe.exposure,
        )
        save_weights(model, record)
