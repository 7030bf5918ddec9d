"""A run's settings, in the Trainer's and DeepSpeed's words."""

import pytest
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from libmoe.train.arguments import deepspeed_config, training_arguments


@pytest.fixture
def arguments(alone, tmp_path, spec_of, monkeypatch):
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")

    def make(*settings, stage="pretrain"):
        return training_arguments(spec_of(tmp_path / "run", stage, *settings, processes=1), tmp_path)

    yield make
    unset_hf_deepspeed_config()


def test_every_setting_arrives(arguments):
    made = arguments(
        *("seed=7", "train.learning_rate=3e-4", "train.weight_decay=0.1", "train.warmup_ratio=0.25"),
        *("train.scheduler='linear'", "train.max_grad_norm=0.5", "train.epochs=3", "train.save_steps=11"),
        *("train.micro_batch_size=2", "train.global_batch_size=8", "data.workers=3"),
    )
    assert (made.seed, made.learning_rate, made.weight_decay) == (7, 3e-4, 0.1)
    assert made.get_warmup_steps(100) == 25
    assert made.lr_scheduler_type == "linear"
    assert (made.max_grad_norm, made.num_train_epochs, made.max_steps, made.save_steps) == (0.5, 3, -1, 11)
    assert (made.per_device_train_batch_size, made.gradient_accumulation_steps) == (2, 4)
    assert made.dataloader_num_workers == 3
    assert made.use_cpu


@pytest.mark.parametrize(("minutes", "seconds"), [(0.5, 1800), (60, 7200), (0, 604800)])
def test_ranks_wait_longer_than_the_launcher(arguments, minutes, seconds):
    assert arguments(f"train.hang_minutes={minutes}").ddp_timeout == seconds


@pytest.mark.parametrize(("ratio", "steps"), [("0.0", 0), ("1.0", 100), ("0.03", 3)])
def test_warm_up_is_a_share_of_all_steps(arguments, ratio, steps):
    assert arguments(f"train.warmup_ratio={ratio}").get_warmup_steps(100) == steps


def test_a_constant_rate_warms_up_too(arguments):
    assert arguments("train.scheduler='constant'").lr_scheduler_type == "constant_with_warmup"


@pytest.mark.parametrize(("precision", "bf16"), [("bf16", True), ("fp32", False)])
def test_precision(arguments, precision, bf16):
    made = arguments(f"train.precision='{precision}'")
    assert made.bf16 is bf16
    assert made.hf_deepspeed_config.config["bf16"]["enabled"] is bf16


def test_the_recipes_zero(spec_of, tmp_path):
    zero = {
        stage: deepspeed_config(spec_of(tmp_path, stage))["zero_optimization"]
        for stage in ("pretrain", "pft", "sft")
    }
    assert [settings["stage"] for settings in zero.values()] == [2, 3, 3]
    assert zero["pft"]["offload_optimizer"] == zero["pft"]["offload_param"]
    assert zero["pft"]["offload_param"] == {"device": "cpu", "pin_memory": False}
    assert not {"offload_optimizer", "offload_param"} & (zero["pretrain"].keys() | zero["sft"].keys())
