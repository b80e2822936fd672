"""What can be wrong with a block or a table, as errors whose message is one line for the user."""

from __future__ import annotations


class LutError(Exception):
    """Root of this package's errors: what is wrong, the value, what to do, in one line.

    `exit_code` is the status a command ends with when nobody handles the error.
    """

    exit_code = 2


class BlockKeyError(LutError):
    """A string is not the canonical key of a block."""


class TableFormatError(LutError):
    """A file is damaged, truncated, of another schema, or not a latency table at all."""


class MissingBlockError(LutError):
    """A table lacks, or failed to measure, a block that a network needs."""


class CalibrationError(LutError):
    """Too few or unusable networks to calibrate a table with."""


class ExchangeError(LutError):
    """A CSV or YAML file of latencies holds something that is not a latency of a known block."""


class OutputError(LutError):
    """An output cannot be written: no permission, no such folder, a full disk."""
