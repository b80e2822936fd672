"""What can go wrong on a device, as errors whose message is one line for the user."""

from __future__ import annotations


class DeviceError(Exception):
    """Root of this package's errors: what is wrong, the value, what to do, in one line.

    `exit_code` is the status a command ends with when nobody handles the error.
    """

    exit_code = 3


class UnknownDeviceError(DeviceError):
    """A device spec of that name does not exist, or the spec's file is wrong."""

    exit_code = 2


class DeviceOptionError(DeviceError):
    """An option that the device or its runtime does not take, or a wrong value of one."""

    exit_code = 2


class DeviceMismatchError(DeviceError):
    """The hardware found is not the hardware that the spec names."""


class RuntimeUnavailableError(DeviceError):
    """The runtime that the spec asks for cannot be imported, found or started."""


class MeasurementError(DeviceError):
    """One artefact could not be run; the session goes on with the others."""


class ConnectionLostError(DeviceError):
    """The device went away; what was measured before stays valid."""


class AuthorizationError(DeviceError):
    """A phone does not trust this computer's key: nobody allowed it, or the phone refused."""


class StorageFullError(DeviceError):
    """The device has no room for a file that has to be there."""


def one_line(error: BaseException) -> str:
    """An exception's first line, cut to a length that fits a message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
