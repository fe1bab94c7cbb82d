"""Linux' error numbers, as the emulated kernel returns them (negative). They do not depend on the host's system.

Follows include/uapi/asm-generic/errno-base.h and errno.h. darwin and windows have numbers of their own, in their files.
"""

from __future__ import annotations

EPERM = 1
ENOENT = 2
ESRCH = 3
EINTR = 4
EBADF = 9
EAGAIN = 11
ENOMEM = 12
EACCES = 13
EFAULT = 14
EINVAL = 22
EMFILE = 24
ENOTTY = 25
ESPIPE = 29
EROFS = 30
EPIPE = 32
ERANGE = 34
ENOSYS = 38
EAFNOSUPPORT = 97
ETIMEDOUT = 110
