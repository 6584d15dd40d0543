"""What goes wrong in training, and has a name.

FoldinError
|- BadInputError            the data or the settings cannot be used: exit code 2
|- TrainingDivergedError    the loss is no longer finite: exit code 1
|- ClusterError             other machines did not do their part: exit code 1
`- ProcessLostError         one of several processes of a run has ended: exit code 1
"""

from pydantic import ValidationError

from service.errors import FoldinError


class BadInputError(FoldinError):
    """A file, a column, a setting or a name that cannot be used; the message is for its owner."""


class TrainingDivergedError(FoldinError):
    """The loss is not finite any more; the weights are worth nothing."""


class ClusterError(FoldinError):
    """What other machines were to do is not done, or done otherwise."""


class ProcessLostError(FoldinError):
    """Another process of the run has ended; without it there is no next step."""


def first_fault(error: ValidationError) -> str:
    """Tell where the first wrong value is, and what is wrong with it."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    # What a validator of ours says comes with a prefix of the library's.
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"
