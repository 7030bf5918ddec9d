"""Real training on two ranks: the three stages under their ZeRO settings, resumed, interrupted, failing."""

import itertools
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from libmoe.config.rank_failure import Cause
from libmoe.model.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

KEYS = ["step", "loss", "lm_loss", "lr", "grad_norm", "tokens", "images", "seconds", "tokens_per_s"]
SHORT = ("train.global_batch_size=8", "train.micro_batch_size=4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def pretrain(folder, spec_of, run):
    """Stage 1 under ZeRO-2, two epochs of three steps."""
    settings = ("train.max_steps=6", "train.save_steps=2", "train.save_total_limit=2")
    return run(spec_of(folder / "pretrain", "pretrain", *SHORT, *settings))


@pytest.fixture(scope="module")
def pft(pretrain, folder, spec_of, run):
    """Stage 2 under ZeRO-3 with everything offloaded."""
    return run(
        spec_of(folder / "pft", "pft", *SHORT, "train.max_steps=3", init_from=pretrain.run_dir / "model")
    )


@pytest.fixture(scope="module")
def sft(pft, folder, spec_of, run):
    """Stage 3 under ZeRO-3: one epoch, with rows of text alone."""
    settings = ("train.epochs=1", "train.activation_checkpointing=true")
    return run(spec_of(folder / "sft", "sft", *SHORT, *settings, init_from=pft.run_dir / "model"))


@pytest.mark.parametrize("stage", ["pretrain", "pft", "sft"])
def test_a_stage_leaves_all_that_is_promised(stage, request):
    done = request.getfixturevalue(stage)
    assert done.code == 0, done.log
    assert done.failures == []
    steps = len(done.metrics)
    assert [line["step"] for line in done.metrics] == list(range(1, steps + 1))
    for line in done.metrics:
        assert [key for key in line if key in KEYS] == KEYS
        assert line["memory_bytes"] > 2**27
    assert done.lines[0] == f"stage {stage}  loading the libraries"
    assert any(f"step {steps}/{steps}" in line and "loss" in line for line in done.lines)
    assert (done.run_dir / f"checkpoints/step-{steps}").is_dir()
    assert list((done.run_dir / "checkpoints/.drafts").iterdir()) == []
    board = EventAccumulator(str(done.run_dir / "tensorboard")).Reload()
    assert [event.value for event in board.Scalars("train/lm_loss")] == [m["lm_loss"] for m in done.metrics]


@pytest.mark.parametrize("stage", ["pretrain", "pft", "sft"])
def test_model_and_checkpoints_load(stage, request):
    done = request.getfixturevalue(stage)
    model, processor = load_checkpoint(done.run_dir / "model")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert processor.tokenizer.chat_template
    last = load_file(done.run_dir / f"checkpoints/step-{len(done.metrics)}/model.safetensors")
    saved = load_file(done.run_dir / "model/model.safetensors")
    assert saved.keys() == last.keys()
    assert all(torch.equal(saved[name], last[name]) for name in saved)
    assert not (done.run_dir / "model/training_args.bin").exists()
    assert f"# tiny, stage {stage}" in (done.run_dir / "model/README.md").read_text()
    for path in (done.run_dir / "model").iterdir():
        assert path.stat().st_mode & 0o044 == 0o044


def test_only_the_connector_changes_in_stage_1(pretrain):
    first = load_file(pretrain.run_dir / "checkpoints/step-4/model.safetensors")
    last = load_file(pretrain.run_dir / "model/model.safetensors")
    changed = {name for name in last if not torch.equal(first[name], last[name])}
    assert changed == {name for name in last if "multi_modal_projector" in name}


def test_everything_changes_in_stage_3(pft, sft):
    dense = load_file(pft.run_dir / "model/model.safetensors")
    mixed = load_file(sft.run_dir / "model/model.safetensors")
    assert not [name for name in dense if name in mixed and torch.equal(dense[name], mixed[name])]
    experts = mixed["model.multi_modal_projector.experts.linear_1.weight"]
    assert not any(torch.equal(*pair) for pair in itertools.combinations(experts, 2))


def test_dense_stages_have_no_router_losses(pretrain, pft):
    for line in pretrain.metrics + pft.metrics:
        assert "balance_loss" not in line
        assert line["loss"] == line["lm_loss"]


def test_the_losses_of_stage_3_add_up(sft):
    for line in sft.metrics:
        assert line["loss"] == pytest.approx(
            line["lm_loss"] + 0.01 * line["balance_loss"] + 0.001 * line["z_loss"], rel=1e-12
        )
        assert line["balance_loss"] >= 3 * 0.95  # three layers, 1 each where the load is even


def test_the_routers_of_stage_3_are_told_of(pft, sft):
    (line,) = [json.loads(line) for line in (sft.run_dir / "router.jsonl").read_text().splitlines()]
    assert line["step"] == 1
    *tower, connector = line["layers"].values()
    images = sft.metrics[0]["images"]  # of both ranks, in 16 tokens each, at ten tiles of the tower
    assert connector["tokens"] == 16 * images
    assert [layer["tokens"] for layer in tower] == [160 * images] * 2
    assert connector["load"] != [0] * 6
    assert not (pft.run_dir / "router.jsonl").exists()


def test_rows_of_one_kind_make_up_a_step(sft):
    """Three rows without image and 48 with one: seven steps, the three in one of them."""
    assert len(sft.metrics) == 7
    assert sorted(line["images"] for line in sft.metrics) == [5, 8, 8, 8, 8, 8, 8]


def test_each_epoch_has_an_order_of_its_own(pretrain):
    tokens = [line["tokens"] for line in pretrain.metrics]
    assert sum(tokens[:3]) == sum(tokens[3:])
    assert tokens[:3] != tokens[3:]


def test_old_checkpoints_are_removed(pretrain):
    kept = sorted(path.name for path in (pretrain.run_dir / "checkpoints").glob("step-*"))
    assert kept == ["step-4", "step-6"]


def test_resumed_inside_an_epoch_is_not_interrupted(pretrain, folder, spec_of, run):
    settings = ("train.max_steps=6", "train.save_steps=2", "train.save_total_limit=2")
    checkpoint = pretrain.run_dir / "checkpoints/step-4"
    spec = spec_of(folder / "resumed", "pretrain", *SHORT, *settings, resume_from=checkpoint)
    old = [json.dumps({**line, "loss": -1.0}) + "\n" for line in pretrain.metrics]
    (spec.run_dir / "metrics.jsonl").write_text("".join(old) + '{"step": 7, "lo')  # as killed in step 7
    resumed = run(spec)
    assert resumed.code == 0, resumed.log
    assert [line["step"] for line in resumed.metrics] == [1, 2, 3, 4, 5, 6]
    assert resumed.losses == [-1.0] * 4 + pretrain.losses[4:]
    assert [m["grad_norm"] for m in resumed.metrics[4:]] == [m["grad_norm"] for m in pretrain.metrics[4:]]
    ours, theirs = (load_file(r.run_dir / "model/model.safetensors") for r in (resumed, pretrain))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_resumed_after_its_last_step_makes_no_other(folder, spec_of, run):
    """As killed while it saved its model; the last step is not the last of an epoch."""
    settings = (
        *SHORT,
        "train.max_steps=2",
        "train.save_steps=2",
        "train.scheduler=constant",
        "train.warmup_ratio=0",
    )
    whole = run(spec_of(folder / "short", "pretrain", *settings, processes=1))
    assert whole.code == 0, whole.log
    weights = (whole.run_dir / "model/model.safetensors").read_bytes()
    shutil.rmtree(whole.run_dir / "model")
    checkpoint = whole.run_dir / "checkpoints/step-2"
    again = run(spec_of(whole.run_dir, "pretrain", *settings, processes=1, resume_from=checkpoint))
    assert again.code == 0, again.log
    assert again.metrics == whole.metrics
    assert (again.run_dir / "model/model.safetensors").read_bytes() == weights
    assert [path.name for path in (again.run_dir / "checkpoints").glob("step-*")] == ["step-2"]


def test_interrupted_saves_and_says_so(pretrain, folder, spec_of, run):
    spec = spec_of(folder / "interrupted", "pretrain", *SHORT, "train.max_steps=5000")
    done = run(spec, interrupt_at="step ")
    assert done.code != 0
    assert {failure.exit_code for failure in done.failures} == {75}, done.log
    (checkpoint,) = (done.run_dir / "checkpoints").glob("step-*")
    step = len(done.metrics)
    assert checkpoint.name == f"step-{step}"
    assert f"saved at step {step}" in done.failures[0].message
    assert not (done.run_dir / "model").exists()
    assert done.losses[:6] != pretrain.losses  # another schedule: the interruption, not the end, stopped it


def test_a_bad_image_is_named_by_whoever_reads_it(folder, spec_of, volume, add_rows, run):
    (volume / "broken.jpg").write_bytes(b"<html>404</html>")
    said = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a page"}]
    add_rows("broken", [{"id": "r0", "image": "broken.jpg", "conversations": said}])
    settings = ("data.annotations='broken'", "data.unreadable='fail'", "data.workers=1", "train.max_steps=2")
    done = run(spec_of(folder / "broken", "pretrain", *SHORT, *settings))
    failure = next(failure for failure in done.failures if failure.cause is Cause.FAILED)
    assert failure.exit_code == 65
    assert failure.message.startswith(f"The image {volume / 'broken.jpg'} of row 'r0' does not decode")
    assert "\n" not in failure.message
    assert not (done.run_dir / "model").exists()
