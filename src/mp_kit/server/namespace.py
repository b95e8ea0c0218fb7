"""Run by path: enters a user namespace, asks for a death signal, and becomes another program.

1. A process of its own and no ``preexec_fn``: between fork and exec a library's hook may start a thread in the child
   (OpenTelemetry's does), and the kernel lets no process with two threads into a namespace.
2. Nothing of ours is imported, so that the interpreter, isolated, is there in some hundredths of a second.
"""

from __future__ import annotations

import ctypes
import os
import sys

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_CANNOT = 126  # as shells say it of a program that cannot be run


def command(uid: int, argv: list[str], *, death_signal: int = 0) -> list[str]:
    """What starts a program in a user namespace in which root's only mapped id is this one.

    The program keeps root's access to root's own files, holds no capability, and calls itself this uid. Where the
    namespace is refused, the process exits with 126 and says so on its standard error.

    Args:
        uid: Whom root calls itself inside.
        argv: The program and its arguments.
        death_signal: What it gets when the thread that started it ends; 0 for nothing.
    """
    return [sys.executable, "-I", "-S", __file__, str(uid), str(int(death_signal)), str(os.getpid()), *argv]


def _enter(uid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER) refused")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} 0 1"), ("gid_map", f"{uid} 0 1")):
        handle = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(handle, text.encode())
        os.close(handle)


def _main(uid: int, death_signal: int, parent: int, argv: list[str]) -> None:
    try:
        _enter(uid)
    except OSError as error:
        sys.exit(_refusal(error))
    if death_signal:  # after the namespace: a change of credentials clears it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            sys.exit(1)
    os.execv(argv[0], argv)  # noqa: S606 - the caller's program, and no shell


def _refusal(error: OSError) -> int:
    sys.stderr.write(f"No user namespace: {error}\n")
    return _CANNOT


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
