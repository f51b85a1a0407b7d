"""Steps: named groups of system calls that are sent to init together, and repaired one by one when one fails.

A round trip to init costs more than any system call, so the whole set-up goes out as one batch, on the assumption that
nothing is missing. When a call fails, its step may repair the cause (make the mountpoint), and the batch goes on from
that step; else the step words the error.
"""

from __future__ import annotations

from libcontainer.errors import Error, InitError
from libcontainer.remote import CONTINUE, MAX_FDS, Batch, Channel, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_REPAIRS = 8  # of one step
BATCH = 80  # calls, those that a loop repeats included
FIRST = 16  # the first batch is small: init is idle until it comes
AHEAD = 8  # batches under way: their answers fit into the socket, or both sides would wait for the other to read


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


def run(channel: Channel, steps: Sequence[Step | Talk], scratch: tuple[int, int]) -> None:
    """Run all steps in order. Descriptors of init in the range `scratch` do not outlive their batch."""
    at = repairs = 0
    while at < len(steps):
        step = steps[at]
        if isinstance(step, Talk):
            _talk(channel, step)
            at += 1
            continue
        done, err = _receive(channel, _send(channel, steps, at, scratch))
        at += done
        if err is not None:
            repairs = 1 if done else repairs + 1
            if repairs > MAX_REPAIRS or not _repaired(channel, steps[at], err):
                raise _worded(steps[at], err)
            _close_scratch(channel, scratch)


def _send(
    channel: Channel, steps: Sequence[Step | Talk], at: int, scratch: tuple[int, int]
) -> list[tuple[Batch, list[int]]]:
    """Send the steps from `at` on, up to the next Talk or as many as may be under way, a batch at a time, so that init
    is at work on the first while the next is written. Returns each batch with the places where the calls of its steps end."""
    sent: list[tuple[Batch, list[int]]] = []
    batch, ends = Batch(), list[int]()
    for step in steps[at:]:
        if isinstance(step, Talk) or len(sent) == AHEAD:
            break
        step.emit(batch)
        ends.append(len(batch))
        if len(batch) + batch.repeats > (BATCH if sent else FIRST) or len(batch.fds) > MAX_FDS - 4:
            sent.append(_send_one(channel, batch, ends, scratch, bool(sent)))
            batch, ends = Batch(), []
    if ends:
        sent.append(_send_one(channel, batch, ends, scratch, bool(sent)))
    return sent


def _send_one(
    channel: Channel, batch: Batch, ends: list[int], scratch: tuple[int, int], more: bool
) -> tuple[Batch, list[int]]:
    batch.close_range(*scratch)
    ends[-1] += 1
    channel.send(batch, CONTINUE if more else 0)
    return batch, ends


def _close_scratch(channel: Channel, scratch: tuple[int, int]) -> None:
    """What a failed batch has left open."""
    batch = Batch()
    batch.close_range(*scratch)
    channel.run(batch)


def _receive(channel: Channel, sent: list[tuple[Batch, list[int]]]) -> tuple[int, StepError | None]:
    """How many steps succeeded, and the error of the next. All answers are read: after a failure init answers the rest
    with ECANCELED."""
    done = 0
    failure = None
    for batch, ends in sent:
        try:
            channel.receive(batch)
            done += len(ends)
        except StepError as err:
            if failure is None:
                failure = err
                done += next(i for i, end in enumerate(ends) if err.index < end)
    return done, failure


def _talk(channel: Channel, step: Talk) -> None:
    try:
        step.talk(channel)
    except InitError:
        raise  # why it died is for the caller to find out
    except (OSError, Error) as err:
        raise (Error(step.what) if step.what else err) from (err if step.what else err.__cause__)


def _repaired(channel: Channel, step: Step | Talk, err: StepError) -> bool:
    return isinstance(step, Step) and step.repair is not None and step.repair(channel, err)


def _worded(step: Step | Talk, err: StepError) -> Error | StepError:
    words = step.words(err) if isinstance(step, Step) and step.words else None
    if not words and not step.what:
        return err
    error = Error(words or step.what)
    error.__cause__ = err
    return error
