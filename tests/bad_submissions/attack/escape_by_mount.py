"""Tries to mount the outside, to change its root and to enter other namespaces."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}
MAY_LOSE = {"softmax_jacobian", "score_gradient", "AttentionBlock"}


CODE = r"""
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
libc.unshare(CLONE_NEWUSER | CLONE_NEWNS)
libc.mount(b"proc", b"/proc", b"proc", 0, None)
libc.mount(b"/dev/vda", b"/tmp", b"ext4", 0, None)
try:
    os.mkdir("/tmp/root")
    os.chroot("/tmp/root")
except OSError:
    pass
for pid in ("1", str(os.getppid())):
    for kind in ("mnt", "net", "user", "pid"):
        try:
            with open(f"/proc/{pid}/ns/{kind}") as space:
                libc.setns(space.fileno(), 0)
        except OSError:
            pass
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
