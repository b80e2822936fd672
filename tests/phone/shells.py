"""Whose shell and tools a fake phone has: this computer's, or those that Android has, as Debian packages them."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shell:
    """A shell's path; `toybox` is the tools' one executable, None for all that this computer has."""

    path: str
    toybox: str | None = None

    @property
    def is_here(self) -> bool:
        return all(shutil.which(path) for path in (self.path, self.toybox) if path)

    def furnish(self, commands: Path, tools: Path) -> str:
        """Put the shell, and a link for each tool, into a phone's folder `tools`; what PATH is then.

        Commands of the phone's own go before them. What tests write in the phone's place never reaches this computer's
        executables: the phone has copies.
        """
        if self.toybox is None:
            return f"{commands}:{os.environ['PATH']}"
        tools.mkdir(parents=True, exist_ok=True)
        copies = {"sh": self.path, "toybox": self.toybox}
        for name, source in copies.items():
            shutil.copy(shutil.which(source) or source, tools / name)
        listed = subprocess.run([self.toybox], capture_output=True, text=True, check=True).stdout.split()
        for name in set(listed) - set(copies):
            if not (tools / name).is_symlink():
                (tools / name).symlink_to(tools / "toybox")
        return f"{commands}:{tools}"


HOST = Shell("/bin/sh")
ANDROID = Shell("mksh", "toybox")  # Android's own since 4.0 and 6.0
SHELLS = {"host": HOST, "android": ANDROID}
