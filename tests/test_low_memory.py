"""Low memory gives the same numbers, and running out of memory is seen to once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PATIENCE, adapter_for, error_of, noise_frames, same, save_frames, values, video_of
from published_fixtures import MAKERS
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils._python_dispatch import TorchDispatchMode

from ttt_cli.adaptation.methods import METHODS
from ttt_cli.adaptation.online import adapt
from ttt_cli.adaptation.out_of_memory import Memory, OutOfMemory, is_out_of_memory
from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.frame import Result
from ttt_cli.draw.drawing import Drawing
from ttt_cli.model.light_head import LightHead
from ttt_cli.model.most_likely import most_likely
from ttt_cli.model.opening import open_weights
from ttt_cli.model.published.zhang import Widths, ZhangModel
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.tasks.published import PUBLISHED_TASKS

SAVING = Memory(AdaptationSettings(low_memory=True))
Published = Callable[[str], Path]


@pytest.mark.parametrize("method", METHODS)
def test_low_memory_changes_no_bit(tiny_model: TwoHeadedModel, method: str) -> None:
    seen = []
    for low_memory in (False, True):
        adapter = adapter_for(tiny_model, method=method, low_memory=low_memory, learning_rate=1e-3)
        adapter.method.begin(adapter, video_of(noise_frames(2)), lambda done, total: None)
        results = [adapter.step(frame) for frame in noise_frames(2)]
        seen.append((values(tiny_model), [(result.loss, result.prediction.probabilities) for result in results]))  # type: ignore[attr-defined]
        adapter.restore()
    (plain, results), (low, low_results) = seen
    assert same(plain, low)
    for (loss, probabilities), (low_loss, low_probabilities) in zip(results, low_results, strict=True):
        assert loss == low_loss
        assert torch.equal(probabilities, low_probabilities)


def gradients(model: SplitModel, low_memory: bool) -> list[Tensor]:
    side = getattr(model, "side", None) or 64
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 255
    memory = SAVING if low_memory else Memory(AdaptationSettings())
    with memory.saving(model):
        loss = reconstruction_loss(model, images, ReconstructionSettings(), torch.Generator().manual_seed(0))
    assert not any("forward" in block.__dict__ for block in model.blocks)
    trained = [*model.self_supervised_parameters(), *(model.mask_input.parameters() if model.mask_input else ())]
    return list(torch.autograd.grad(loss, trained, materialize_grads=True))


def with_reconstruction(model: Any, size: int) -> SplitModel:
    """The model with a random g, which is also told what is hidden."""
    torch.manual_seed(0)
    encoded = model.encode(torch.zeros(1, 3, size, size))
    channels = [values.shape[1] for values in model.maps(encoded)]
    model.reconstruction_head = LightHead(channels, 8, model.strides(encoded))
    model.add_mask_input({})
    assert isinstance(model, SplitModel)
    nn.init.normal_(model.mask_input.weight)  # type: ignore[union-attr, arg-type]
    return model


@pytest.mark.parametrize("family", MAKERS)
def test_published_encoders_get_the_same_gradients(published: Published, family: str) -> None:
    opened: Any = open_weights(str(published(family))).load()
    model = with_reconstruction(opened, opened.side or 64)
    plain, low = gradients(model, low_memory=False), gradients(model, low_memory=True)
    assert all(torch.equal(*pair) for pair in zip(plain, low, strict=True))
    assert plain[-1].any()


def test_a_first_layer_within_a_block_is_told_what_is_hidden_once_more() -> None:
    model = with_reconstruction(ZhangModel(Widths((8, 8, 8, 8, 8, 8, 8), 4, 5)).eval(), 64)
    for convolution in model.encoder.modules():
        if isinstance(convolution, nn.Conv2d):  # With their usual weights, nothing is left after so many layers.
            nn.init.kaiming_normal_(convolution.weight)
    plain, low = gradients(model, low_memory=False), gradients(model, low_memory=True)
    assert all(torch.equal(*pair) for pair in zip(plain, low, strict=True))
    assert plain[-1].any()


def test_a_step_holds_less(tiny_model: TwoHeadedModel) -> None:
    """Counts the bytes that the forward pass of f leaves for the backward pass."""

    def held(memory: Memory) -> int:
        sizes: list[int] = []
        keep = torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: sizes.append(tensor.nbytes) or tensor, lambda t: t
        )
        with keep, memory.saving(tiny_model):
            tiny_model.encode(torch.zeros(1, 3, 64, 64))
        return sum(sizes)

    assert held(SAVING) < 0.5 * held(Memory(AdaptationSettings()))


# Predictions of large frames


def test_the_most_likely_class_is_that_of_all_classes_at_once() -> None:
    scores = torch.rand(21, 9, 12, generator=torch.Generator().manual_seed(0))
    enlarge = partial(interpolate, size=(50, 70), mode="bilinear")
    assert torch.equal(most_likely(scores, enlarge).long(), enlarge(scores[None])[0].argmax(dim=0))
    scores[20] = scores[3]
    assert {3, 20} & set(most_likely(scores, enlarge).flatten().tolist()) == {3}


class Largest(TorchDispatchMode):
    """Within it, `elements` becomes the number of elements of the largest float tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        made = function(*arguments, **(options or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                self.elements = max(self.elements, tensor.numel())
        return made


@pytest.mark.parametrize(
    ("family", "task"),
    [*((family, "semantic") for family in MAKERS), ("mask2former", "instance"), ("maskformer", "instance")],
)
def test_no_prediction_holds_all_classes_or_masks_of_a_large_frame(
    published: Published, family: str, task: str
) -> None:
    weights: Any = open_weights(str(published(family)))
    model, size = weights.load(), (1200, 1600)
    chosen = PUBLISHED_TASKS[task](weights.classes, processing=weights.processing(resizes=True))
    picture = torch.randint(256, (3, 90, 120), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        prediction = chosen.predict(model, model.encode(chosen.preprocess(picture)[None]))
        with Largest() as largest:
            prediction.at_size(size)
    assert largest.elements <= 1200 * 1600 + 12 * 384 * 384  # Mask2Former's processor makes masks of 384 x 384.


# Memory that runs out

FRAMES = noise_frames(3, (96, 128))


class Scarce:
    """Raises what PyTorch raises if memory runs out, in the first few of the calls from the `start`-th on."""

    def __init__(self, call: Callable[..., Any], start: int, failures: int) -> None:
        self.call, self.start, self.failures, self.calls = call, start, failures, 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self.start <= self.calls < self.start + self.failures:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.call(*arguments, **options)


def test_a_step_that_ran_out_is_taken_with_half_the_crop(tiny_model: TwoHeadedModel) -> None:
    sizes: list[tuple[int, ...]] = []
    reconstruct = Scarce(tiny_model.reconstruct, start=2, failures=1)

    def noting(features: Any) -> Tensor:
        sizes.append(features.image_size)
        output: Tensor = reconstruct(features)
        return output

    tiny_model.reconstruct = noting  # type: ignore[method-assign]
    results = list(adapt(video_of(FRAMES), adapter_for(tiny_model)))
    assert sizes == [(96, 128), (96, 128), (48, 64), (48, 64)]
    assert all(result.loss is not None for result in results)
    first, second, third = (result.out_of_memory for result in results)
    assert first is None and third is None
    assert second is not None and second.startswith("frame 1: ") and "--low-memory" in second and "0.5" in second


@pytest.mark.parametrize("where", ["forward", "backward", "optimizer"])
def test_a_failed_step_leaves_the_model_as_it_was(
    tiny_model: TwoHeadedModel, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = adapter_for(tiny_model, learning_rate=1e-3)
    adapter.step(FRAMES[0])
    before = values(tiny_model)
    if where == "forward":
        monkeypatch.setattr(tiny_model, "reconstruct", Scarce(tiny_model.reconstruct, 1, 2))
    elif where == "backward":
        monkeypatch.setattr(Tensor, "backward", Scarce(Tensor.backward, 1, 2))
    else:
        take = torch.optim.AdamW.step

        def half_a_step(optimizer: torch.optim.AdamW, *arguments: Any) -> None:
            take(optimizer)
            raise torch.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(torch.optim.AdamW, "step", half_a_step)
    with pytest.raises(OutOfMemory, match=r"frame 1: memory ran out again.*--size"):
        adapter.step(FRAMES[1])
    assert same(values(tiny_model), before)
    assert all(parameter.grad is None for parameter in tiny_model.parameters())
    monkeypatch.undo()
    assert adapter.step(FRAMES[1]).loss is not None


def test_a_prediction_that_ran_out_is_made_again(tiny_model: TwoHeadedModel) -> None:
    expected = adapter_for(tiny_model, method="joint").step(noise_frames(1)[0])
    tiny_model.decode = Scarce(tiny_model.decode, start=1, failures=1)  # type: ignore[method-assign]
    result: Result = adapter_for(tiny_model, method="joint").step(noise_frames(1)[0])
    assert torch.equal(result.prediction.class_map, expected.prediction.class_map)  # type: ignore[attr-defined]
    assert (
        result.out_of_memory is not None and "prediction" in result.out_of_memory and "crop" not in result.out_of_memory
    )


def test_other_errors_pass(tiny_model: TwoHeadedModel) -> None:
    def broken(features: Any) -> Tensor:
        raise RuntimeError("shapes do not fit")

    tiny_model.reconstruct = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="do not fit"):
        adapter_for(tiny_model).step(noise_frames(1)[0])


def test_what_allocators_say() -> None:
    cpu = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ..."
    windows = "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to ..."
    mps = "MPS backend out of memory (MPS allocated: 8.00 GB)"
    assert all(is_out_of_memory(RuntimeError(message)) for message in (cpu, windows, mps))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(OSError("out of memory"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit on memory")
def test_a_real_limit() -> None:
    """Half-way between what a step on a quarter of a frame takes and what one on all of it takes, the second fails."""
    code = (
        "import re, resource\n"
        "from pathlib import Path\n"
        "from conftest import TINY, adapter_for, new_model, noise_frames\n"
        "frame = noise_frames(1, (576, 768))[0]\n"
        "def peak_kib():\n"
        "    return int(re.search(r'VmPeak:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1])\n"
        "adapter_for(new_model(TINY, 12), crop=0.5, low_memory=True).step(frame)\n"
        "little = peak_kib()\n"
        "adapter_for(new_model(TINY, 12)).step(frame)\n"
        "resource.setrlimit(resource.RLIMIT_AS, ((little + peak_kib()) // 2 * 1024,) * 2)\n"
        "result = adapter_for(new_model(TINY, 12)).step(frame)\n"
        "print(result.out_of_memory, result.loss is not None, tuple(result.prediction.class_map.shape))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=Path(__file__).parent,
        # Without this, what was freed before would be taken again, and the limit would not be met.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"frame 0: memory ran out in a step.*0\.5.* True \(576, 768\)", done.stdout)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Four pictures."""
    return save_frames([frame.image for frame in noise_frames(4, (96, 128))], tmp_path / "frames")


def scarce(monkeypatch: pytest.MonkeyPatch, start: int, failures: int) -> None:
    calls = Scarce(TwoHeadedModel.reconstruct, start, failures)
    monkeypatch.setattr(TwoHeadedModel, "reconstruct", lambda model, features: calls(model, features))


def report() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("out/run.json").read_text())
    return content


def test_a_run_says_that_memory_ran_out(
    segment: Callable[..., int], frames: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scarce(monkeypatch, start=3, failures=1)
    assert segment(frames, "--out", "out", "--method", "online", "--every", 1, "--quiet") == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: frame 2: memory ran out in a step")
    assert report()["warnings"] == [warning.removeprefix("warning: ")]
    assert report()["frames"] == 4
    assert report()["settings"]["adaptation"]["low_memory"] is False


def test_a_run_ends_with_one_line_the_second_time(
    segment: Callable[..., int], frames: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scarce(monkeypatch, start=3, failures=2)
    assert segment(frames, "--out", "out", "--method", "online", "--every", 1, "--low-memory") == 1
    error = error_of(capsys)
    assert "frame 2: memory ran out again" in error and "--size" in error
    assert report()["status"] == "failed" and report()["reason"] in error
    assert report()["frames"] == 2 and Path("out/overlay.mp4").stat().st_size > 0
    assert report()["settings"]["adaptation"]["low_memory"] is True


def test_memory_that_runs_out_elsewhere_is_one_line_too(
    segment: Callable[..., int], frames: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Scarce(Drawing.picture, 2, 1)
    monkeypatch.setattr(Drawing, "picture", lambda drawing, *arguments: calls(drawing, *arguments))
    assert segment(frames, "--out", "out", "--method", "joint") == 1
    assert "memory ran out" in error_of(capsys)
    assert "memory ran out" in report()["reason"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits what is written to")
@pytest.mark.parametrize(("gibibytes", "size", "codes"), [(2.0, (2160, 3840), {0}), (1.25, (2160, 3840), {0, 1})])
def test_little_memory(tmp_path: Path, gibibytes: float, size: tuple[int, int], codes: set[int]) -> None:
    """A run of the shipped weights ends well, or with one line. The files that PyTorch maps do not count."""
    import resource

    frames = save_frames([noise_frames(1, size)[0].image], tmp_path / "frames")
    limit = int(gibibytes * 2**30)
    done = subprocess.run(
        [sys.executable, "-m", "ttt_cli", "segment", str(frames), "--size", "240", "--out", str(tmp_path / "out")],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode in codes, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == done.returncode and "(unexpected" not in done.stderr, done.stderr
    assert all("memory ran out" in line for line in errors)
