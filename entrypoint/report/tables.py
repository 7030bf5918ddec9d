"""What folds out below a stage's curves: rows left out, settings, versions, hardware, data."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from entrypoint.report.stage import StageRun
from libmoe.config.layers import flatten
from libmoe.config.run import ROWS_NOT_TRAINED_ON

_SKIPPED_SHOWN = 50
_GIVEN_BY_NOBODY = ("default", "recipe ", "preset ")
_TITLE = ("stage", "preset")


def tables(stage: StageRun) -> str:
    """All of them, closed."""
    settings = flatten(stage.spec.config.model_dump(mode="json"))
    origins = stage.spec.provenance
    return "".join(
        (
            _left_out(stage),
            _details("Settings, and where each came from",
                     ((key, _said(value), origins.get(key, "")) for key, value in settings.items())),
            _details("Made with", _made_with(stage).items()),
            _details("Data on the volume, sha256", stage.spec.receipts.items()),
        )
    )  # fmt: skip


def given(stage: StageRun) -> str:
    """The settings that were asked for beside stage and preset, by their names."""
    settings = flatten(stage.spec.config.model_dump(mode="json"))
    return ", ".join(
        f"{key}={_said(settings[key])}"
        for key, origin in stage.spec.provenance.items()
        if key in settings and key not in _TITLE and not origin.startswith(_GIVEN_BY_NOBODY)
    )


def _said(value: object) -> str:
    """As ``--set`` takes it; unset is nothing."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _left_out(stage: StageRun) -> str:
    if not stage.skipped:
        return ""
    rows = [
        (one["row"], f"step {one['step']:,}" if one["step"] else "always", one["reason"])
        for one in stage.skipped[:_SKIPPED_SHOWN]
    ]
    more = len(stage.skipped) - len(rows)
    if more:
        rows.append((f"{more:,} more", "", f"all are in {ROWS_NOT_TRAINED_ON}"))
    return _details(f"Rows left out ({stage.rows_left_out:,})", rows)


def _made_with(stage: StageRun) -> Mapping[str, object]:
    spec = stage.spec
    return {
        **spec.versions,
        **spec.hardware,
        **spec.code,
        "annotations sha256": spec.annotations.sha256,
        "started from": spec.init_from or "base weights",
        "accumulation steps": spec.accumulation_steps,
    }


def _details(title: str, rows: Iterable[Sequence[object]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<details><summary>{escape(title)}</summary><table>{lines}</table></details>" if lines else ""
