"""The Android Debug Bridge: a session with one phone over USB or the network.

In come an address and a signing key. Out go shell commands with their output and status, files pushed, and processes
that outlive a broken connection.
"""
