"""Real training of an algorithm that acts after each step, its coefficients on a schedule."""

import json

import pytest
import torch
from safetensors.torch import load_file

SETTINGS = (
    "moe.name=aux_free",
    "data.annotations='sample-pft-json'",
    "data.group_by_modality_length=false",
    "train.global_batch_size=8",
    "train.micro_batch_size=2",
    "train.max_steps=4",
    "train.save_steps=2",
    "train.save_total_limit=2",
    "train.activation_checkpointing=true",
    "train.zero.stage=3",
    "moe.aux_schedule=warmup",
    "moe.aux_schedule_share=1.0",
    "moe.balance_coefficient=0.5",
)


@pytest.mark.slow
def test_a_resumed_run_goes_on_exactly(tmp_path, spec_of, run):
    whole = run(spec_of(tmp_path / "whole", "sft", *SETTINGS))
    assert whole.code == 0, whole.log
    spec = spec_of(tmp_path / "resumed", "sft", *SETTINGS, resume_from=whole.run_dir / "checkpoints/step-2")
    lines = [json.dumps(line) + "\n" for line in whole.metrics[:2]]
    (spec.run_dir / "metrics.jsonl").write_text("".join(lines))
    resumed = run(spec)
    assert resumed.code == 0, resumed.log
    assert resumed.losses == whole.losses
    ours, theirs = (load_file(done.run_dir / "model/model.safetensors") for done in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    half = load_file(whole.run_dir / "checkpoints/step-2/model.safetensors")
    biases = [name for name in theirs if name.endswith("router.moves")]
    assert len(biases) == 3
    assert not any(torch.equal(theirs[name], half[name]) for name in biases)
    for line in whole.metrics:
        share = (line["step"] - 1) / 4
        aux = 0.5 * line["balance_loss"] + 0.001 * line["z_loss"]
        assert line["loss"] == pytest.approx(line["lm_loss"] + share * aux, rel=1e-12)
