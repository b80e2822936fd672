"""The bytes of ADB: messages, and the RSA challenge. Source: Android's `protocol.txt` and `android_pubkey.c`."""

import base64
import struct
from dataclasses import dataclass

COMMANDS = {name: int.from_bytes(name.encode(), "little") for name in ("CNXN", "AUTH", "OPEN", "OKAY", "WRTE", "CLSE")}
STLS = int.from_bytes(b"STLS", "little")
NAMES = {number: name for name, number in COMMANDS.items()}
VERSION, MAX_DATA = 0x01000001, 256 * 1024
TOKEN, SIGNATURE, PUBLIC_KEY = 1, 2, 3
HEADER = struct.Struct("<6I")
_DIGEST_INFO = bytes.fromhex("3021300906052b0e03021a05000414")  # SHA-1, of 20 bytes


@dataclass(frozen=True)
class Message:
    name: str
    arg0: int
    arg1: int
    data: bytes = b""

    def pack(self) -> bytes:
        """Always with a true checksum: adb-shell verifies it, newer clients of Google's ignore it."""
        command = COMMANDS[self.name]
        return pack(command, self.arg0, self.arg1, self.data)


def pack(command: int, arg0: int, arg1: int, data: bytes) -> bytes:
    return HEADER.pack(command, arg0, arg1, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF) + data


def unpack_header(header: bytes) -> tuple[str, int, int, int]:
    """Name, two arguments and the length of the data that follows."""
    command, arg0, arg1, length, _, magic = HEADER.unpack(header)
    if magic != command ^ 0xFFFFFFFF or command not in NAMES:
        raise ValueError(f"bad header {header!r}")
    return NAMES[command], arg0, arg1, length


def parse_public_key(blob: bytes) -> tuple[int, int]:
    """Modulus and exponent of a public key as a client offers it: base64, then a name."""
    raw = base64.b64decode(blob.split(b" ")[0].rstrip(b"\0\n"))
    (words,) = struct.unpack_from("<I", raw)
    (exponent,) = struct.unpack_from("<I", raw, 8 + 8 * words)
    return int.from_bytes(raw[8 : 8 + 4 * words], "little"), exponent


def verify(signature: bytes, token: bytes, key: tuple[int, int]) -> bool:
    """PKCS#1 v1.5 where the 20-byte token is the digest itself."""
    modulus, exponent = key
    size = (modulus.bit_length() + 7) // 8
    padding = b"\0\1" + b"\xff" * (size - 3 - len(_DIGEST_INFO) - len(token)) + b"\0"
    wanted = padding + _DIGEST_INFO + token
    return len(signature) == size and pow(int.from_bytes(signature, "big"), exponent, modulus) == int.from_bytes(
        wanted, "big"
    )
