"""One stage of training, from its manifest to a model folder."""

import shutil

import torch.distributed as dist
from transformers import LlavaProcessor, Trainer
from transformers.utils.logging import disable_progress_bar

from libmoe.config.errors import TryAgainError
from libmoe.config.run import RunSpec
from libmoe.model.build import build_model
from libmoe.model.card import write_card
from libmoe.model.packed_attention import attend_within_samples
from libmoe.model.processor import build_processor
from libmoe.moe import set_aux_scale
from libmoe.train.arguments import compile_nothing, training_arguments
from libmoe.train.callbacks.assemble import training_callbacks
from libmoe.train.checkpoint import Checkpoints, publish
from libmoe.train.data import training_data
from libmoe.train.determinism import make_repeatable
from libmoe.train.heartbeat import Heartbeat
from libmoe.train.ranks import is_first
from libmoe.train.terminal import Say
from libmoe.train.trainer import OrderedTrainer


def run(spec: RunSpec, say: Say, heartbeat: Heartbeat) -> None:
    """Trains as ``spec`` says and leaves the model in ``spec.model_dir``. Every rank calls it.

    Raises:
        TryAgainError: asked to stop; a checkpoint was saved.
        LibmoeError: as the parts that it is made of.
    """
    stage, train = spec.config.stage, spec.config.train
    checkpoints = Checkpoints(spec)
    make_repeatable(spec.config.seed, spec.world.device, train.deterministic)
    disable_progress_bar()
    compile_nothing()
    arguments = training_arguments(spec, checkpoints.drafts)  # before the model, which ZeRO-3 partitions
    if is_first():
        checkpoints.clear_drafts()
    say(f"stage {stage}  building the model")
    heartbeat.beat("building the model")
    model = build_model(spec)
    model.set_trainable(train.trainable)
    if spec.config.data.packing:
        attend_within_samples(model.model.language_model)
    set_aux_scale(1 / spec.accumulation_steps)
    processor = build_processor(spec.config, spec.models_dir)
    data = training_data(spec, processor)
    callbacks, interruption = training_callbacks(spec, data, checkpoints, processor, say, heartbeat)
    trainer = OrderedTrainer(
        model=model,
        args=arguments,
        train_dataset=data.dataset,
        data_collator=data.collator,
        sampler=data.sampler,
        pixels=data.pixels,
        callbacks=callbacks,
    )
    trainer.train(resume_from_checkpoint=str(spec.resume_from) if spec.resume_from else None)
    if interruption.happened:
        raise TryAgainError(
            f"Stage {stage} was interrupted and saved at step {trainer.state.global_step}: "
            "the same command continues from there."
        )
    if spec.stop_after is not None:
        dist.destroy_process_group()
        return
    say(f"stage {stage}  saving the model")
    heartbeat.beat("saving the model", trainer.state.global_step)
    _save(trainer, processor, spec)
    dist.destroy_process_group()


def _save(trainer: Trainer, processor: LlavaProcessor, spec: RunSpec) -> None:
    """The model as ``from_pretrained`` loads it, weights gathered from all ranks."""
    final = spec.model_dir
    draft = final.with_name(f".draft-{final.name}")
    if is_first():
        shutil.rmtree(draft, ignore_errors=True)
    dist.barrier()
    trainer.save_model(str(draft))
    if is_first():
        (draft / "training_args.bin").unlink()  # a pickle of paths: run.json says all of it
        processor.save_pretrained(draft)
        write_card(draft, spec)
        publish(draft, final)
    dist.barrier()
