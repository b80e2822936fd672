"""Stands in for TensorFlow Lite's benchmark_model on a fake phone: its flags, its loop rule, its output.

usage: standin.py TOOL [--flag=value ...]    The fake phone runs it in the place of an Android executable.

With a zygote beside the phone the model is run by TensorFlow Lite on this computer; without one, the model is
a file of `fake_model` that says how long it takes, and nothing is waited for. Standard library only, and of
that little: it starts for each run.
"""

import json
import os
import sys
import time

FLAGS = {
    "graph": "", "num_runs": 50, "min_secs": 1.0, "max_secs": 150.0, "warmup_runs": 1, "warmup_min_secs": 0.5,
    "num_threads": -1, "run_delay": -1.0, "use_xnnpack": True, "use_gpu": False, "gpu_precision_loss_allowed": True,
    "enable_op_profiling": False, "report_peak_memory_footprint": False, "verbose": False, "help": False,
}  # fmt: skip


def number(value):
    """As C++ streams print a double: six significant digits, 1.04e+06 where that is shorter."""
    return f"{value:.6g}"


def statistics_line(us, year):
    """One line of the tool's statistics over times in whole microseconds."""
    if not us:
        return "count=0"
    mean = sum(us) / len(us)
    if min(us) == max(us):
        line = f"count={len(us)} curr={us[-1]}" + ("(all same)" if len(us) > 1 else "")
    else:
        std = int(max(0.0, sum(u * u for u in us) / len(us) - mean * mean) ** 0.5)
        line = f"count={len(us)} first={us[0]} curr={us[-1]} min={min(us)} max={max(us)} avg={number(mean)} std={std}"
    if year >= 2025:
        ordered = sorted(us)
        line += " p5={} median={} p95={}".format(*(ordered[len(us) * p // 100] for p in (5, 50, 95)))
    return line


def summary(year, init_us, first_us, warmup_us, mean_us):
    """The closing lines, in the spelling of that year."""
    init, warmup, mean = str(init_us), number(warmup_us), number(mean_us)
    if year == 2019:
        return [f"Average inference timings in us: Warmup: {warmup}, Init: {init}, no stats: {mean}"]
    if year == 2020:
        return [f"Average inference timings in us: Warmup: {warmup}, Init: {init}, Inference: {mean}"]
    return [
        f"Inference timings in us: Init: {init}, First inference: {first_us}, "
        f"Warmup (avg): {warmup}, Inference (avg): {mean}"
    ]


def known_flags(lacks):
    """The flags of a build. One without both of TensorFlow's own is LiteRT's, which has three of its own."""
    known = {name: value for name, value in FLAGS.items() if name not in lacks}
    if {"use_xnnpack", "gpu_precision_loss_allowed"} <= set(lacks):
        known |= {"use_cpu": False, "use_npu": False, "allow_fp16": False}
    return known


def parse_flags(arguments, lacks, say):
    """Values by flag, as the tool reads them: an unknown flag is only a warning, a bad value is an error."""
    values = dict(FLAGS) | known_flags(lacks)
    for argument in arguments:
        name, equals, text = argument.lstrip("-").partition("=")
        if name == "help":
            values["help"] = True
        elif name not in known_flags(lacks) or not equals:
            say(f"Unconsumed cmdline flags: {argument}", "WARN")
        else:
            kind = type(values[name])
            try:
                values[name] = text.lower() in ("1", "true") if kind is bool else kind(text)
            except ValueError:
                say(f"Failed to parse flag '{name}'", "ERROR")
                sys.exit(1)
    return values


class Simulated:
    """A model that says its latency. The noise is a few parts in a thousand."""

    def __init__(self, flags, heat):
        with open(flags["graph"], "rb") as file:
            self._us = json.loads(file.readline())["latency_us"] * heat
        self._state = os.getpid() * 7919
        self.now_s = 0.0

    def invoke(self):
        self.now_s += self._us / 1e6
        self._state = (self._state * 1103515245 + 12345) % (1 << 31)
        return max(1, round(self._us * (1.0 + 0.012 * (self._state / (1 << 31) - 0.5))))


class Measured:
    """A model that TensorFlow Lite runs on this computer. A hot phone's times are stretched."""

    def __init__(self, flags, heat):
        import numpy as np
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        kind = OpResolverType.AUTO if flags["use_xnnpack"] else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        threads = max(1, flags["num_threads"])
        self._interpreter = Interpreter(flags["graph"], num_threads=threads, experimental_op_resolver_type=kind)
        self._interpreter.allocate_tensors()
        self._heat = heat
        noise = np.random.default_rng(0)
        for detail in self._interpreter.get_input_details():
            values = noise.random(detail["shape"])
            if np.issubdtype(detail["dtype"], np.integer):
                values *= 127
            self._interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))

    @property
    def now_s(self):
        return time.perf_counter()

    def invoke(self):
        started = time.perf_counter_ns()
        self._interpreter.invoke()
        return max(1, round((time.perf_counter_ns() - started) * self._heat / 1000))


def run(model, runs, low_s, high_s):
    """Times of consecutive runs: until both the number and the seconds are met, or too long has passed."""
    times, started = [], model.now_s
    while (len(times) < runs or model.now_s < started + low_s) and model.now_s <= started + high_s:
        times.append(model.invoke())
    return times


def benchmark(tool, arguments, engine):
    """What the tool does; the exit status."""
    root = tool.split("/data/local/tmp/")[0]
    with open(f"{root}/tool") as file:
        year, garbage, lacks = file.read().split("\n")[:3]
    with open(f"{root}/heat") as file:
        heat = float(file.read())
    year = int(year)

    def say(text, level="INFO"):
        print(f"{level}: {text}" if year >= 2023 else text, flush=True)

    if garbage == "1":
        with open(f"{root}/tool", "w") as file:
            file.write(f"{year}\n0\n{lacks}\n")
        sys.stdout.buffer.write(bytes(range(256)) * 8 + b"\ncount=\ncount=abc\nTimings (microseconds): count=50\n")
        return 0
    say("STARTING!")
    flags = parse_flags(arguments, lacks.split(","), say)
    if flags["help"]:
        print("usage: benchmark_model <flags>\n" + "\n".join(f"\t--{name}" for name in known_flags(lacks.split(","))))
        return 1
    if not os.path.isfile(flags["graph"]):
        print(f"ERROR: Failed to mmap model {flags['graph']}\nERROR: Benchmarking failed.", flush=True)
        return 1
    say(f"Graph: [{flags['graph']}]")
    started = time.perf_counter()
    try:
        model = engine(flags, heat)
    except (OSError, ValueError, KeyError, RuntimeError):
        print("ERROR: Failed to construct interpreter\nERROR: Benchmarking failed.", flush=True)
        return 1
    init_us = max(1, int((time.perf_counter() - started) * 1e6))
    say(f"Loaded model {flags['graph']}")
    say(f"The input model file size (MB): {number(os.path.getsize(flags['graph']) / 1e6)}")
    say(f"Initialized session in {number(init_us / 1e3)}ms.")
    lines = []
    for runs, low_s in (("warmup_runs", "warmup_min_secs"), ("num_runs", "min_secs")):
        say(f"Running benchmark for at least {flags[runs]} iterations and at least {number(flags[low_s])} seconds")
        times = run(model, flags[runs], flags[low_s], flags["max_secs"])
        lines.append(times)
        say(statistics_line(times, year) + "\n")
    warmup, measured = lines
    means = [sum(times) / len(times) if times else 0.0 for times in lines]
    for line in summary(year, init_us, (warmup or measured or [0])[0], *means):
        say(line)
    return 0


def ask_zygote(path, tool, arguments):
    """Have the model run by the process that has TensorFlow Lite loaded; it writes to our own output."""
    import array
    import socket

    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        request = json.dumps([tool, *arguments]).encode()
        streams = array.array("i", [1, 2]).tobytes()
        connection.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        answer = connection.recv(1)
        return answer[0] if answer else 137


def main():
    tool, *arguments = sys.argv[1:]
    note = tool.split("/data/local/tmp/")[0] + "/zygote"
    if os.path.exists(note):
        with open(note) as file:
            return ask_zygote(file.read(), tool, arguments)
    return benchmark(tool, arguments, Simulated)


if __name__ == "__main__":
    sys.exit(main())
