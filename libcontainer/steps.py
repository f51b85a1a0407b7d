"""Steps: named groups of system calls that are sent to init together, and repaired one by one when one fails.

A round trip to init costs more than any system call, so the whole set-up goes out as one batch, on the assumption that
nothing is missing. When a call fails, its step may repair the cause (make the mountpoint), and the batch goes on from
that step; else the step words the error.
"""

from __future__ import annotations

from libcontainer.errors import Error
from libcontainer.remote import MAX_FDS, Batch, Channel, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_REPAIRS = 64


class Step:
    """One group of calls.

    `emit(batch)` appends its calls; `what` starts the error message; `repair(channel, error)` returns True if the step
    is worth another try. `words(error)` may return a message of its own for a failure.
    """

    __slots__ = ("emit", "repair", "what", "words")

    def __init__(
        self,
        what: str,
        emit: Callable[[Batch], object],
        *,
        repair: Callable[[Channel, StepError], bool] | None = None,
        words: Callable[[StepError], str | None] | None = None,
    ) -> None:
        self.what = what
        self.emit = emit
        self.repair = repair
        self.words = words


class Talk:
    """A step that needs answers of init in between: `talk(channel)` runs its own batches."""

    __slots__ = ("talk", "what")

    def __init__(self, what: str, talk: Callable[[Channel], None]) -> None:
        self.what = what
        self.talk = talk


def run(
    channel: Channel, steps: Sequence[Step | Talk], *, meanwhile: Callable[[], None] | None = None
) -> None:
    """Run all steps in order, in as few batches as possible. `meanwhile` is called once, while init is at work."""
    at = repairs = 0
    while at < len(steps):
        step = steps[at]
        if isinstance(step, Talk):
            _talk(channel, step)
            at += 1
            continue
        batch, ends = _gather(steps, at)
        channel.send(batch)
        if meanwhile is not None:
            meanwhile, work = None, meanwhile
            work()
        try:
            channel.receive(batch)
            at += len(ends)
        except StepError as err:
            at += next(i for i, end in enumerate(ends) if err.index < end)
            repairs += 1
            if repairs > MAX_REPAIRS or not _repaired(channel, steps[at], err):
                raise _worded(steps[at], err) from err


def _gather(steps: Sequence[Step | Talk], at: int) -> tuple[Batch, list[int]]:
    """The batch of the steps from `at` on, and for each where its calls end."""
    batch, ends = Batch(), []
    for step in steps[at:]:
        if isinstance(step, Talk) or len(batch.fds) > MAX_FDS - 4:
            break
        step.emit(batch)
        ends.append(len(batch.calls))
    return batch, ends


def _talk(channel: Channel, step: Talk) -> None:
    try:
        step.talk(channel)
    except (OSError, Error) as err:
        raise (Error(step.what) if step.what else err) from (err if step.what else err.__cause__)


def _repaired(channel: Channel, step: Step | Talk, err: StepError) -> bool:
    return isinstance(step, Step) and step.repair is not None and step.repair(channel, err)


def _worded(step: Step | Talk, err: StepError) -> Error:
    words = step.words(err) if isinstance(step, Step) and step.words else None
    return Error(words) if words else Error(step.what)
