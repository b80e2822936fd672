"""RSA keys by which a phone knows this computer: adb's own first, else one of ours."""

from __future__ import annotations

import base64
import os
import socket
import struct
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from devices.errors import RuntimeUnavailableError
from devices.host.places import config_folder, home_folder

_BITS = 2048
_NAME = "adbkey"
_WORD = 1 << 32


class Signer:
    """One private key. The methods are spelt as adb-shell calls them."""

    def __init__(self, key: rsa.RSAPrivateKey, path: Path) -> None:
        self._key = key
        self.path = path

    def Sign(self, data: bytes) -> bytes:  # noqa: N802
        """Sign the phone's 20-byte token, which stands for a SHA-1 digest and is not hashed again."""
        return self._key.sign(data, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1()))

    def GetPublicKey(self) -> bytes:  # noqa: N802
        """The public key as adb sends it: base64 of Android's structure, and a name shown in the dialog."""
        return encode_public_key(self._key.public_key()) + f" pnag@{socket.gethostname() or 'computer'}".encode()


def encode_public_key(key: rsa.RSAPublicKey) -> bytes:
    """Base64 of Android's RSAPublicKey: words, -1/n mod 2³², n, 2^(2·bits) mod n, e; all little-endian.

    Source: Android's libcrypto_utils, `android_pubkey.h`.
    """
    numbers = key.public_numbers()
    n, size = numbers.n, _BITS // 8
    n0inv = _WORD - pow(n, -1, _WORD)
    rr = pow(2, 2 * _BITS, n)
    words = struct.pack("<II", size // 4, n0inv) + n.to_bytes(size, "little") + rr.to_bytes(size, "little")
    return base64.b64encode(words + struct.pack("<I", numbers.e))


def adb_key_path(home: Path) -> Path:
    """Where adb keeps the key of the user with that home."""
    return home / ".android" / "adbkey"


def own_key_path(home: Path | None) -> Path | None:
    """Where ours lies: `$XDG_CONFIG_HOME/pnag/adbkey`, or below `~/.config`; None where there is neither."""
    folder = config_folder(home)
    return None if folder is None else folder / _NAME


def load_signer(home: Path | None = None) -> Signer:
    """adb's key if it can be read, since phones trust it already; else our own, made on first use (mode 600).

    Raises `RuntimeUnavailableError` if no key can be read or written.
    """
    home = home or home_folder()
    if home is not None and (known := _read(adb_key_path(home))):
        return known
    own = own_key_path(home)
    if own is None:
        raise RuntimeUnavailableError("there is no home folder to keep a key for the phone in; set HOME to a folder")
    return _read(own) or _create(own)


def _read(path: Path) -> Signer | None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):  # absent, not ours to read, damaged, or locked by a password
        return None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != _BITS:
        return None
    return Signer(key, path)


def _create(path: Path) -> Signer:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)  # a damaged one
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    except OSError as error:
        other = _read(path)  # another process may have made it in the meantime
        if other is None:
            raise RuntimeUnavailableError(
                f"cannot keep a key for the phone at {path}: {error.strerror or error}; make the folder writable"
            ) from error
        return other
    return Signer(key, path)
