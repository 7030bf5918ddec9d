"""One attempt at a stage, on one node or several: meet, choose where to go on, train until the ranks end."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass

from entrypoint.launch import folder
from entrypoint.launch.nodes.meet import meet
from entrypoint.launch.nodes.settings import Place
from entrypoint.launch.plan import check_start
from entrypoint.launch.ranks.processes import train_stage
from entrypoint.launch.reshape import reshaped
from libmoe.config.errors import LibmoeError, TryAgainError
from libmoe.config.run import RunSpec

Say = Callable[[str], None]


@dataclass(frozen=True)
class Attempt:
    """This node's part in an attempt, whichever stage it is at."""

    place: Place
    devices: dict[str, str]
    """Environment that shows the ranks their devices."""
    resume: str
    """``auto``, ``never``, or a checkpoint's folder."""
    rendezvous_minutes: float
    """How long the nodes wait for each other."""

    def run(self, spec: RunSpec, say: Say) -> None:
        """Trains until the ranks end. Only node 0 decides and writes; the others follow its run.json.

        Raises:
            LibmoeError: as `train_stage`, or nothing could be started.
        """
        with ExitStack() as stack:
            if self.place.rank == 0:
                stack.enter_context(folder.held(spec, say))
                if self.place.nodes == 1 and folder.is_done(spec):  # by whoever held the folder before
                    say(f"stage {spec.config.stage}: done meanwhile, in {spec.run_dir}")
                    return
            link = stack.enter_context(closing(meet(self.place, spec, self.rendezvous_minutes, say)))
            try:
                if self.place.rank == 0:
                    spec = self._prepare(spec, say)
                link.begin(spec)
            except LibmoeError as error:
                link.refuse(error)
                raise
            train_stage(spec, self.place.rank, link, self.devices, say)

    def _prepare(self, spec: RunSpec, say: Say) -> RunSpec:
        stage = spec.config.stage
        if folder.is_done(spec):
            raise TryAgainError(
                f"Another `libmoe train` has finished stage {stage} meanwhile: "
                "the same command on all nodes goes on with what is left."
            )
        folder.check_continues(spec)
        check_start(spec)
        resume = folder.where_to_go_on(spec, self.resume)
        for reason in resume.passed_over:
            say(f"stage {stage}: {reason}")
        if resume.checkpoint:
            say(f"stage {stage}: continuing from {resume.checkpoint.name}")
        if resume.by_other_ranks(spec):
            ranks = f"{resume.ranks} ranks saved it, and {spec.world.size} go on"
            say(f"stage {stage}: converting it, as {ranks}: the last digits will differ")
        spec = spec.model_copy(update={"resume_from": reshaped(resume, spec)})
        folder.start(spec)
        return spec
