"""What can go wrong while learning and generating, as errors whose message is one line for the user."""

from __future__ import annotations


class PnagError(Exception):
    """Root of this package's errors: what is wrong, the value, what to do, in one line.

    `exit_code` is the status a command ends with when nobody handles the error.
    """

    exit_code = 2


class ArchitectureError(PnagError):
    """A string or a sequence is not an architecture, or not one of the space in use."""


class SpaceError(PnagError):
    """An unknown search space, or two artefacts that belong to different spaces."""


class BudgetError(PnagError):
    """A budget cannot be parsed, or no network of the space can keep it."""


class InfeasibleBudgetError(BudgetError):
    """A budget lies below the cheapest or above the dearest network of the space."""

    exit_code = 4


class RunError(PnagError):
    """A run directory is empty, unfinished, damaged, or made by another version."""


class ArchiveError(PnagError):
    """An accuracy archive is damaged or holds values that are not accuracies of this space."""


class CheckpointError(PnagError):
    """A supernet checkpoint is not a state dict of this space."""


class ModelFileError(PnagError):
    """A network's file has an unknown suffix, cannot be read, or carries no description of ours."""


class DataError(PnagError):
    """A data set is missing, unreadable, or unfit to train a classifier on."""
