"""What can go wrong while profiling, as errors whose message is one line for the user."""

from __future__ import annotations


class ProfilerError(Exception):
    """Root of this package's errors: what is wrong, the value, what to do, in one line.

    `exit_code` is the status a command ends with when nobody handles the error.
    """

    exit_code = 3


class JournalError(ProfilerError):
    """A journal cannot be resumed: another session's, or damaged beyond its last line."""

    exit_code = 2


class ExportError(ProfilerError):
    """A module could not be turned into a device's file, or the file computes something else."""


class CacheError(ProfilerError):
    """The cache of exported files cannot be written."""

    exit_code = 2


class ReferenceFailedError(ProfilerError):
    """The reference block cannot be measured, so nothing can be judged."""


class TemplateError(ProfilerError):
    """A converted file is not what a template can be made of; the converter has to do each file itself."""
