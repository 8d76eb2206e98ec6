"""TOML into dataclasses: valid values are converted, errors name the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.errors import UsageError
from ttt_cli.core.toml import from_table, read_toml
from ttt_cli.training.recipe import Recipe

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.mark.parametrize(
    ("name", "method"), [("street-plain", "online"), ("street-strong", "auto"), ("street", "auto")]
)
def test_the_shipped_recipes_read_and_keep_the_test_drive_out_of_training(name: str, method: str) -> None:
    recipe = from_table(Recipe, read_toml(RECIPES / f"{name}.toml"), f"{name}.toml")
    assert recipe.name == name
    assert recipe.reconstruction.target == "image"
    assert from_table(AdaptationSettings, recipe.adaptation, "adaptation").method == method
    tested = {stream["folder"] for stream in read_toml(RECIPES / "streams.toml")["streams"]}
    assert not tested & {source.folder for source in recipe.sources}
    assert not any("0016E5" in source.folder for source in recipe.sources)


def test_whole_numbers_fit_where_fractions_are_wanted() -> None:
    assert from_table(AdaptationSettings, {"learning_rate": 1}, "x").learning_rate == 1.0


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"windw": 3}, "x: unknown setting 'windw'; known: method, window"),
        ({"window": "many"}, "x: window: must be int, not 'many'"),
        ({"window": True}, "x: window: must be int, not True"),
        ({"precision": "fp8"}, "x: precision: must be 'fp32' or 'bf16' or 'fp16', not 'fp8'"),
    ],
)
def test_what_does_not_fit_is_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_table(AdaptationSettings, table, "x")
    assert str(caught.value).startswith(message)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="recipe: must say sources, license"):
        from_table(Recipe, {"name": "mine"}, "recipe")


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("window = = 3")
    with pytest.raises(UsageError, match=r"bad\.toml: not valid TOML"):
        read_toml(tmp_path / "bad.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_toml(tmp_path / "absent.toml")
