"""A process with TensorFlow Lite loaded that forks for each run of the stand-in. usage: zygote.py SOCKET

It ends with its standard input. A run ends with its client, as a process on a phone dies when it is killed.
"""

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np  # noqa: F401  loaded once, here
import standin
from ai_edge_litert.interpreter import Interpreter  # noqa: F401


def serve(path: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the runs
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        threading.Thread(target=_end_with_parent, daemon=True).start()
        print("ready", flush=True)
        while True:
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _run(client)
            client.close()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _run(client: socket.socket) -> None:
    request, streams, _, _ = socket.recv_fds(client, 1 << 16, 2)
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
    threading.Thread(target=_end_with, args=(client,), daemon=True).start()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # pinned, as on the phone; to what core this computer has
    status = 1
    try:
        tool, *arguments = json.loads(request)
        status = standin.benchmark(tool, arguments, standin.Measured)
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stdout.flush()
        client.send(bytes([status]))
        os._exit(status)


def _end_with(client: socket.socket) -> None:
    client.recv(1)
    os._exit(137)


if __name__ == "__main__":
    serve(sys.argv[1])
