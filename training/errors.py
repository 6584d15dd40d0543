"""What goes wrong in training, and has a name.

FoldinError
|- BadInputError            the data or the settings cannot be used: exit code 2
`- TrainingDivergedError    the loss is no longer finite: exit code 1
"""

from service.errors import FoldinError


class BadInputError(FoldinError):
    """A file, a column, a setting or a name that cannot be used; the message is for its owner."""


class TrainingDivergedError(FoldinError):
    """The loss is not finite any more; the weights are worth nothing."""
