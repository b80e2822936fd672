"""What can be told to the back-end for phones, in [options] of a spec or on the command line."""

from devices.options import Option

DELEGATES = ("xnnpack", "gpu", "none")
START_C, COOL_DOWN_S = 35.0, 600.0  # throttling has been seen from about 37 °C on

OPTIONS = (
    Option("serial", str, "a phone on USB by its serial"),
    Option("adb", str, "a phone at HOST:PORT"),
    Option("benchmark_model", str, "the file of benchmark_model for Android"),
    Option("delegate", str, "what computes: the CPU (xnnpack), the GPU, or the plain kernels", "xnnpack", DELEGATES),
    Option("affinity", str, "cores such as 2-3, or none for all; the fastest unless given"),
    Option("start_c", float, "the battery's temperature in °C at which measuring may begin", START_C, low=0, high=99),
    Option("cool_down_s", float, "how long to wait for it, in seconds", COOL_DOWN_S, low=0, high=86400),
)
