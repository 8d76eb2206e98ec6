"""TOML into dataclasses: valid values are converted, errors name the value."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.errors import UsageError
from ttt_cli.core.toml import from_table, read_toml
from ttt_cli.model.opening import open_weights
from ttt_cli.run.overrides import Overrides
from ttt_cli.run.settings import resolve
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
        ({"windw": 3}, "x: unknown setting 'windw'; did you mean window or auto_window? known: method, window"),
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


@pytest.mark.parametrize(
    "setting",
    [
        {"gradient_norm": math.nan},
        {"gradient_norm": math.inf},
        {"gradient_norm": 0.0},
        {"weight_decay": math.inf},
        {"weight_decay": math.nan},
        {"weight_decay": -1.0},
        {"weight_decay": 1e5},
        {"learning_rate": 1e30},
        {"learning_rate": math.nan},
        {"reconstruction_rate_factor": 1e30},
        {"reconstruction_rate_factor": math.nan},
        {"forgetting": math.nan},
        {"crop": math.nan},
        {"budget": math.nan},
        {"steps": 10**9},
        {"batch": 10**9},
    ],
)
def test_settings_that_no_step_survives_are_refused(setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(UsageError, match=name.replace("learning_rate", "learning rate")):
        AdaptationSettings(**setting)
    with pytest.raises(UsageError, match=name.replace("learning_rate", "learning.rate")):
        from_table(AdaptationSettings, setting, "x")


ODD_VALUES = {
    "nan": "nan",
    "infinite": "-inf",
    "huge": "1e308",
    "many digits": "1" + "0" * 400,
    "very many digits": "1" + "0" * 5000,
    "negative": "-9223372036854775808",
    "text": '"3"',
    "null byte": '"a\\u0000b"',
    "unicode": '"\u202eevil\U0001f600"',
    "escape": '"\\u001b[31m"',
    "date": "2026-11-26",
    "moment": "2026-11-26T02:00:00Z",
    "list": "[1, 2]",
    "mixed list": '[1, "a", 2026-11-26]',
    "table": "{ a = 1 }",
    "nested": "{ a = { b = { c = [ { d = 1 } ] } } }",
    "true": "true",
    "deep": "[" * 5000 + "]" * 5000,
}
SETTINGS = [
    *("adaptation", "adaptation.window", "adaptation.learning_rate", "adaptation.moves", "adaptation.constants"),
    *("adaptation.tent", "adaptation.ln-adapt.momentum", "adaptation.method", "adaptation.seed"),
    *("adaptation.low_memory", "input", "input.size", "input.start", "input.max_frames", "input.stride"),
    *("output.classes", "output.alpha", "output.overlay", "task.task", "task.crop", "task.largest_count"),
    *("reconstruction.mask_ratio", "other"),
]
RECIPE_SETTINGS = [
    *("name", "license", "objective", "imagenet", "start", "exposure", "sources", "adaptation.window"),
    *("adaptation.learning_rate", "model", "model.encoder", "model.encoder.name", "model.main_head.queries"),
    *("augmentation", "augmentation.crop_height", "augmentation.smallest_scale", "augmentation.camera", "main_loss"),
    *("schedule.steps", "schedule.batch", "schedule.learning_rate", "schedule.precision", "schedule.average_decay"),
    *("schedule.seed", "look_ahead.stops", "reconstruction.patch_pixels"),
]
ODD_BYTES = [b"\xff\xfe", b"\0", b"a = 1\na = 2", b"[a]\n[a]", b"[adaptation", b"= 3", b"\xef\xbb\xbfa = 1"]
ODD_BYTES += [b"a.b = 1\na = 2", b"#" * 2_000_000]


def check_line(error: str, where: str) -> None:
    assert error.isprintable(), where
    assert len(error) < 1500, where


@pytest.mark.parametrize("value", ODD_VALUES.values(), ids=ODD_VALUES)
def test_an_odd_config_file_is_one_line_or_fits(value: str, tmp_path: Path, tiny_weights: Path) -> None:
    weights = open_weights(str(tiny_weights))
    for setting in SETTINGS:
        config = tmp_path / "odd.toml"
        config.write_text(f"{setting} = {value}\n", encoding="utf-8")
        try:
            resolve(weights, config, Overrides(), torch.device("cpu"))
        except UsageError as error:
            check_line(str(error), setting)


@pytest.mark.parametrize("content", ODD_BYTES)
def test_a_file_of_odd_bytes_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_bytes(content)
    with pytest.raises(UsageError, match=r"odd\.toml"):
        read_toml(tmp_path / "odd.toml")


@pytest.mark.parametrize("value", ODD_VALUES.values(), ids=ODD_VALUES)
def test_an_odd_recipe_is_one_line_or_fits(value: str, tmp_path: Path) -> None:
    for section in RECIPE_SETTINGS:
        lines = {"name": '"a"', "license": '"a"', "sources": '[{ kind = "camvid", folder = "x" }]', section: value}
        recipe = tmp_path / "odd.toml"
        recipe.write_text("".join(f"{name} = {text}\n" for name, text in lines.items()), encoding="utf-8")
        try:
            from_table(Recipe, read_toml(recipe), str(recipe))
        except UsageError as error:
            check_line(str(error), section)
