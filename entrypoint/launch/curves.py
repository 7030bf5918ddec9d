"""The loss curves of a run's stages as one picture."""

from collections.abc import Mapping
from pathlib import Path

from entrypoint.launch.metrics import read_metrics

_FAR = 5


def draw_losses(stages: Mapping[str, Path], picture: Path) -> None:
    """Writes a PNG with a panel a stage: loss and language-modelling loss over steps; on a log scale where
    it fell far.

    Args:
        stages: name and run folder of each stage.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(stages), figsize=(4.2 * len(stages), 3.4), squeeze=False, layout="constrained"
    )
    for panel, (stage, run_dir) in zip(panels[0], stages.items(), strict=True):
        steps = read_metrics(run_dir)
        numbers, losses = [step["step"] for step in steps], [step["loss"] for step in steps]
        panel.plot(numbers, losses, color="#1f5fa8", linewidth=1.6, label="loss")
        if "balance_loss" in steps[0]:
            lm_losses = [step["lm_loss"] for step in steps]
            panel.plot(numbers, lm_losses, color="#d1702c", linewidth=1, label="language model")
            panel.legend(frameon=False)
        panel.set(title=stage, xlabel="step", yscale="log" if max(losses) > _FAR * min(losses) else "linear")
        panel.grid(visible=True, which="both", alpha=0.2)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("loss")
    draft = picture.with_suffix(".draft.png")
    figure.savefig(draft, dpi=130)
    pyplot.close(figure)
    draft.replace(picture)
