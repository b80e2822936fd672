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


class DeviceMismatchError(DeviceError):
    """The hardware found is not the hardware that the spec names."""


class RuntimeUnavailableError(DeviceError):
    """The runtime that the spec asks for cannot be imported, found or started."""


class MeasurementError(DeviceError):
    """One artefact could not be run; the session goes on with the others."""


class ConnectionLostError(DeviceError):
    """The device went away; what was measured before stays valid."""
