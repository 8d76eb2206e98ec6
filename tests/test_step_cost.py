"""What makes a step cheaper: fewer parameters that move, and hidden tokens that are not encoded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import adapter_for, check_contract, error_of, noise_frames
from published_fixtures import MAKERS
from torch import Tensor, nn
from torch.nn import functional

from ttt_cli.adaptation.masking import random_visible
from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.adaptation.settings import AdaptationSettings, Moves
from ttt_cli.core.errors import UsageError
from ttt_cli.model.light_head import LightHead
from ttt_cli.model.opening import open_weights
from ttt_cli.model.published.model import PublishedModel
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.run.overrides import Overrides
from ttt_cli.run.settings import resolve, task_of

CPU = torch.device("cpu")
PLAIN = ("dpt", "beit", "data2vec", "eomt", "eomt_dinov3")
Published = Callable[[str], Path]


def with_head(folder: Path) -> PublishedModel:
    """A published model with a mask input and a new g."""
    model = open_weights(str(folder)).load()
    assert isinstance(model, PublishedModel)
    torch.manual_seed(0)
    with torch.no_grad():
        encoded = model.encode(torch.zeros(1, 3, 64, 64))
    channels = [map_.shape[1] for map_ in model.maps(encoded)]
    model.reconstruction_head = LightHead(channels, 8, model.strides(encoded)).eval()
    model.add_mask_input({})
    return model


def adapter_of(model: PublishedModel, folder: Path, method: str = "online", **settings: object) -> Adapter:
    weights = open_weights(str(folder))
    task = task_of(weights, resolve(weights, None, Overrides(), CPU))
    adaptation = AdaptationSettings(method=method, **settings)  # type: ignore[arg-type]
    return Adapter(model, task, adaptation, ReconstructionSettings(), CPU)


# Fewer parameters move


@pytest.mark.parametrize("moves", ["all", "norm", "bias"])
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("method", ["online", "self-train", "tent"])
def test_exactly_what_is_said_moves(tiny_model: TwoHeadedModel, method: str, depth: int, moves: Moves) -> None:
    model = tiny_model
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    names = {id(module): name for name, module in model.named_modules()}
    within = tuple(names[id(block)] + "." for block in (model.blocks[-depth:] if depth else [model.encoder]))
    expected = set()
    for name, _ in model.named_parameters():
        layer, _, kind = name.rpartition(".")
        of_kind = {"all": True, "norm": layer in norms, "bias": kind == "bias"}[moves]
        of_method = layer in norms if method == "tent" else True
        if (name.startswith(within) and of_kind and of_method) or (
            method == "online" and name.startswith("reconstruction_head.")
        ):
            expected.add(name)
    adapter = adapter_for(model, method, depth=depth, moves=moves, learning_rate=1e-2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    chosen = {id(parameter) for parameter in adapter.moving}
    assert {name for name, parameter in model.named_parameters() if id(parameter) in chosen} == expected
    for frame in noise_frames(2):
        adapter.step(frame)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved <= expected
    assert any(name.startswith(within) for name in moved)
    adapter.restore()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def outputs_of(blocks: list[nn.Module], run: Callable[[], object]) -> list[Tensor]:
    outputs = []
    handles = [
        block.register_forward_hook(
            lambda module, inputs, output: outputs.append(output[0] if isinstance(output, tuple) else output)
        )
        for block in blocks
    ]
    run()
    for handle in handles:
        handle.remove()
    return outputs


@pytest.mark.parametrize("family", ["mask2former", "segformer", "mobilenet_v2", "eomt"])
def test_the_backward_pass_stops(published: Published, family: str) -> None:
    model = with_head(published(family))
    adapter = adapter_of(model, published(family), depth=1)
    adapter.window.push(noise_frames(1, size=(64, 64))[0].image)
    *early, last = outputs_of(list(model.blocks), adapter.update)
    assert early
    assert all(output.grad_fn is None and not output.requires_grad for output in early)
    assert last.requires_grad


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"depth": 99}, r"depth must be at most \d+, the number of f's blocks, not 99"),
        ({"depth": 1, "moves": "norm"}, "method online: depth 1 and moves norm leave nothing of f to train"),
    ],
)
def test_what_leaves_nothing_is_refused(
    published: Published, settings: dict[str, object], cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_head(published("mask2former"))
    monkeypatch.setattr(model, "_blocks", [nn.Linear(2, 2)])
    with pytest.raises(UsageError, match=cause):
        adapter_of(model, published("mask2former"), **settings)  # type: ignore[arg-type]
    assert adapter_of(model, published("mask2former"), "joint", moves="norm").moving == []


def test_the_command_line(
    segment: Callable[..., int], tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--method", "online", "--max-frames", 1, "--quiet", "--out", tmp_path / "run")
    assert segment(clip, *arguments, "--depth", 2, "--moves", "norm") == 0
    written = (tmp_path / "run" / "run.json").read_text()
    assert '"depth": 2' in written
    assert '"moves": "norm"' in written
    capsys.readouterr()
    for depth, cause in ((-1, "depth must not be negative"), (99, "the number of f's blocks")):
        assert segment(clip, *arguments, "--overwrite", "--depth", depth) == 2
        assert cause in error_of(capsys)


# Hidden tokens are not encoded


def images_and_masks(size: tuple[int, int] = (64, 64)) -> tuple[Tensor, Tensor]:
    """Two pictures, and for each a mask of its own that hides 80 % in patches of 16 pixels."""
    images = torch.stack([frame.image for frame in noise_frames(2, size=size)])
    return images, random_visible(2, size, 16, 0.8, torch.Generator().manual_seed(1), CPU)


@pytest.mark.parametrize("family", PLAIN)
def test_visible_tokens_are_those_of_attention_to_visible_tokens(
    published: Published, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_head(published(family))
    images, visible = images_and_masks()
    shown = visible[:, 0, ::16, ::16].flatten(1).bool()
    attend, calls = functional.scaled_dot_product_attention, []

    def attend_to_shown(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **rest: object):  # type: ignore[no-untyped-def]
        first = shown.new_ones(2, key.shape[-2] - shown.shape[1])
        hidden = ~torch.cat([first, shown], dim=1)[:, None, None]
        calls.append(len(query))
        mask = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)
        return attend(query, key, value, mask if attn_mask is None else attn_mask + mask, **rest)  # type: ignore[arg-type]

    with torch.no_grad():
        with monkeypatch.context() as patch:
            patch.setattr(functional, "scaled_dot_product_attention", attend_to_shown)
            wanted = model.maps(model.encode(images, visible))[0].flatten(2).transpose(1, 2)
        assert calls
        model.encode_visible_only()
        found = model.maps(model.encode(images, visible))[0].flatten(2).transpose(1, 2)
    torch.testing.assert_close(found[shown], wanted[shown], atol=2e-5, rtol=1e-4)
    assert not found[~shown].any()
    assert wanted[~shown].any()


@pytest.mark.parametrize("family", PLAIN)
def test_whole_pictures_are_encoded_as_before(published: Published, family: str) -> None:
    model = with_head(published(family))
    images, visible = images_and_masks()
    probabilities = []
    with torch.no_grad():
        probabilities.append(model.class_probabilities(model.encode(images)))
        assert model.encode_visible_only() == 16
        model.encode(images, visible)
        probabilities.append(model.class_probabilities(model.encode(images)))
    assert torch.equal(*probabilities)


@pytest.mark.parametrize("family", PLAIN)
def test_only_what_is_shown_passes_through_the_layers(published: Published, family: str) -> None:
    model = with_head(published(family))
    model.encode_visible_only()
    images, visible = images_and_masks((64, 96))
    layer = model.blocks[-1]
    (states,) = outputs_of([layer], lambda: model.encode(images, visible))
    # 24 patches, of which 5 are shown. A picture is two squares of 16 tokens; those of a batch keep as many.
    assert len(states) == 4
    assert states.shape[1] < 1 + 16
    loss = reconstruction_loss(model, images, ReconstructionSettings(), torch.Generator().manual_seed(0))
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in layer.parameters()]
    assert any(gradient is not None and gradient.any() for gradient in gradients)


@pytest.mark.parametrize("family", PLAIN)
def test_a_token_that_shows_anything_is_kept(published: Published, family: str) -> None:
    model = with_head(published(family))
    model.encode_visible_only()
    images, visible = images_and_masks()
    visible[0, :, :8, :8] = 1
    visible[0, :, 8:16, 8:16] = 0
    with torch.no_grad():
        map_ = model.maps(model.encode(images, visible))[0]
    shows = functional.max_pool2d(visible, 16)[:, 0].bool()
    kept = map_.ne(0).any(dim=1)
    assert (kept | ~shows).all()
    assert kept.sum(dim=(1, 2)).tolist() == [int(shows.sum(dim=(1, 2)).max())] * 2


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("family", PLAIN)
def test_the_model_comes_back(published: Published, family: str, depth: int) -> None:
    model = with_head(published(family))
    model.encode_visible_only()
    assert check_contract(adapter_of(model, published(family), depth=depth, batch=2), noise_frames(2, size=(64, 64)))


@pytest.mark.parametrize("family", sorted(set(MAKERS) - set(PLAIN)))
def test_other_encoders_cannot(published: Published, family: str) -> None:
    with pytest.raises(UsageError, match="only a plain vision transformer can leave hidden tokens out"):
        with_head(published(family)).encode_visible_only()


def test_a_hybrid_cannot(published: Published) -> None:
    model = with_head(published("dpt"))
    model.model.config.is_hybrid = True  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="only a plain vision transformer can leave hidden tokens out"):
        model.encode_visible_only()
