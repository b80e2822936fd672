"""A phone on loopback: a daemon that speaks real ADB, a small Android behind it, and faults to order.

It listens on 127.0.0.1 only. Its shell runs on this computer, below a folder of its own that stands for the
phone's file system. Numbers measured with it are this computer's, never a phone's.
"""

from tests.phone.faults import Fault, Faults
from tests.phone.phone import FakePhone
from tests.phone.tool import fake_model, fake_tool

__all__ = ["FakePhone", "Fault", "Faults", "fake_model", "fake_tool"]
