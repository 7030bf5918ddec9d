"""What a stage will take: the keys that scripts rely on, and what a person reads."""

from pathlib import Path
from typing import Any

from entrypoint.launch.nodes.settings import Place
from entrypoint.launch.summary import planned, table
from libmoe.config.layers import Layer, resolve
from libmoe.config.run import Annotations, RunSpec, World


def spec(stage: str, settings: dict[str, Any] | None = None) -> RunSpec:
    """A stage of the guide's model on four GPUs."""
    resolved = resolve(stage, "phi35-siglip224", [Layer("test", settings or {})])
    return RunSpec(
        config=resolved.config,
        provenance=resolved.provenance,
        data_dir=Path("/data"),
        run_dir=Path("/data/run"),
        annotations=Annotations(name="a", index=Path("/data/a.arrow"), sha256="0" * 64, rows=320),
        init_from=None,
        resume_from=None,
        accumulation_steps=1,
        world=World(device="cuda", processes=4),
        versions={},
        hardware={},
    )


def test_the_plan_says_what_a_stage_takes() -> None:
    plan = planned(spec("sft"), Place())
    parameters, memory, flops = (plan[key] for key in ("parameters", "memory_bytes", "flops"))
    assert isinstance(parameters, dict)
    assert isinstance(memory, dict)
    assert isinstance(flops, dict)
    parts = ("vision", "connector", "language", "embeddings", "experts", "routers")
    assert list(parameters) == ["total", "active", *parts]
    assert parameters["total"] == sum(parameters[part] for part in parts)
    assert 4.7e9 < parameters["active"] < 4.9e9 < 5.5e9 < parameters["total"]
    kinds = ("parameters", "gradients", "optimizer", "activations", "buffers")
    assert list(memory) == ["device", *kinds, "host"]
    assert memory["device"] + memory["host"] == sum(memory[kind] for kind in kinds)
    assert list(flops) == ["forward_token", "forward_image", "training_row", "training_step"]
    assert flops["training_step"] == 32 * flops["training_row"]
    assert plan["uncounted"] is None


def test_a_person_reads_a_row_a_figure() -> None:
    _, columns, rows = table([planned(spec(stage), Place()) for stage in ("pretrain", "sft")])
    read = {name: cells for name, *cells in rows}
    assert list(columns) == ["", "pretrain", "sft"]
    assert read["parameters: total"] == ["4.23 G", "5.61 G"]
    assert read["memory: optimizer"][1].endswith("GiB")
    assert read["flops: training row"][0].endswith("T")
    assert "uncounted" not in read


def test_an_unknown_model_is_planned_all_the_same() -> None:
    unknown = {"model": {"language": {"config": {"model_type": "mamba"}}}}
    plan = planned(spec("sft", unknown), Place())
    assert plan["parameters"] is plan["flops"] is plan["memory_bytes"] is None
    _, _, rows = table([plan])
    read = {name: cells for name, *cells in rows}
    assert "'mamba' are not known" in read["uncounted"][0]
    _, _, rows = table([planned(spec("pft"), Place()), plan])
    assert {name: cells for name, *cells in rows}["parameters: total"] == ["4.23 G", "unknown"]
