"""A run's settings in the words of transformers' Trainer and of DeepSpeed."""

import math
from pathlib import Path
from typing import Any

import deepspeed.ops
from transformers import TrainingArguments

from libmoe.config.counting.memory import ZERO_BUCKET
from libmoe.config.run import RunSpec

_SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def training_arguments(spec: RunSpec, output_dir: Path) -> TrainingArguments:
    """The Trainer's arguments. Making them starts the process group and tells transformers about ZeRO-3."""
    train, on_gpu = spec.config.train, spec.world.device == "cuda"
    return TrainingArguments(
        output_dir=str(output_dir),
        seed=spec.config.seed,
        per_device_train_batch_size=train.micro_batch_size,
        gradient_accumulation_steps=spec.accumulation_steps,
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        learning_rate=train.learning_rate,
        weight_decay=train.weight_decay,
        warmup_steps=min(train.warmup_ratio, math.nextafter(1, 0)),  # below 1 it is a share of all steps
        lr_scheduler_type=_SCHEDULERS[train.scheduler],
        max_grad_norm=train.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=train.precision == "bf16",
        tf32=True if on_gpu else None,
        activation_checkpointing=train.activation_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        deepspeed=deepspeed_config(spec),
        use_cpu=not on_gpu,
        ddp_timeout=_collective_seconds(train.hang_minutes),
        ddp_backend="nccl" if on_gpu else "gloo",
        dataloader_num_workers=spec.config.data.workers,
        remove_unused_columns=False,
        save_strategy="steps",
        save_steps=train.save_steps,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="warning",
    )


def _collective_seconds(hang_minutes: float) -> int:
    """How long ranks wait for each other: longer than the launcher, which knows who holds up whom."""
    return int(max(1800, 2 * 60 * hang_minutes)) if hang_minutes else 7 * 24 * 3600


def compile_nothing() -> None:
    """Tells DeepSpeed that it can compile no operators, so that runs need neither a compiler nor its minute.

    On the CPU it would build its shared-memory all-reduce, which serves inference alone.
    """
    deepspeed.ops.__compatible_ops__ = {}


def deepspeed_config(spec: RunSpec) -> dict[str, Any]:
    """DeepSpeed's configuration; batch sizes and clipping are filled in from the Trainer's arguments."""
    train, on_gpu = spec.config.train, spec.world.device == "cuda"
    zero: dict[str, Any] = {
        "stage": train.zero.stage,
        "reduce_bucket_size": ZERO_BUCKET,
        "allgather_bucket_size": ZERO_BUCKET,
        "stage3_prefetch_bucket_size": ZERO_BUCKET,
        "stage3_gather_16bit_weights_on_model_save": True,
    }
    offload = {"device": "cpu", "pin_memory": on_gpu}
    if train.zero.offload_optimizer:
        zero["offload_optimizer"] = offload
    if train.zero.offload_parameters:
        zero["offload_param"] = offload
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "zero_force_ds_cpu_optimizer": False,  # torch's fused AdamW is as fast and needs no compiler
        "zero_optimization": zero,
        "checkpoint": {"load_universal": _is_universal(spec.resume_from)},
    }


def _is_universal(checkpoint: Path | None) -> bool:
    """Whether it was converted for another number of ranks; see `libmoe.train.universal`."""
    return checkpoint is not None and (checkpoint / "latest_universal").is_file()
