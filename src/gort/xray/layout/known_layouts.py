"""Field offsets and sizes of g, m, p and schedt per Go release (1.N) and system, for stripped files.

Written by `python -m gort.xray.layout.layouts_tool` from the DWARF of programs built with each release; the test
`test_layout.py` compares it with the DWARF of freshly built ones. Do not edit.

An entry has a structure, the releases and systems that have it so, as `15-linux 16-linux`, and `field offset size` after
`field offset size`. Most releases changed only some of the structures.
"""

from __future__ import annotations

_TABLES: tuple[tuple[str, str, str], ...] = (
    (
        "runtime.g",
        "15-darwin 15-linux 15-windows 16-darwin 16-linux 16-windows",
        (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 216 8  gopc 280 8  startpc 296 8"
        ),
    ),
    (
        "runtime.g",
        (
            "17-darwin 17-linux 17-windows 18-darwin 18-linux 18-windows 19-darwin 19-linux 19-windows 20-darwin "
            "20-linux 20-windows"
        ),
        (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 232 8  gopc 296 8  startpc 312 8"
        ),
    ),
    (
        "runtime.g",
        "21-darwin 21-linux 21-windows 22-darwin 22-linux 22-windows 25-darwin 25-linux 25-windows",
        (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 272 8  gopc 280 8  startpc "
            "296 8"
        ),
    ),
    (
        "runtime.g",
        "23-darwin 23-linux 23-windows 24-darwin 24-linux 24-windows",
        (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 152 4  goid 160 8  waitreason 184 1  lockedm 216 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
    ),
    (
        "runtime.g",
        "26-darwin 26-linux 26-windows 27-darwin 27-linux 27-windows",
        (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
    ),
    (
        "runtime.m",
        "15-darwin 15-linux",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  fastrand[0] 288 4 "
            "fastrand[1] 292 4  alllink 336 8  schedlink 344 8  lockedg 352 8"
        ),
    ),
    (
        "runtime.m",
        "15-windows",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 88 48  mstartfn 136 8  curg 144 8  p 160 8  nextp 168 8  oldp "
            "176 8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  fastrand[0] 240 4 "
            "fastrand[1] 244 4  alllink 288 8  schedlink 296 8  lockedg 304 8"
        ),
    ),
    (
        "runtime.m",
        "16-darwin 16-linux 17-darwin 17-linux",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  fastrand[0] 288 4 "
            "fastrand[1] 292 4  alllink 344 8  schedlink 352 8  lockedg 360 8"
        ),
    ),
    (
        "runtime.m",
        "16-windows 17-windows",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 88 48  mstartfn 136 8  curg 144 8  p 160 8  nextp 168 8  oldp "
            "176 8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  fastrand[0] 240 4 "
            "fastrand[1] 244 4  alllink 296 8  schedlink 304 8  lockedg 312 8"
        ),
    ),
    (
        "runtime.m",
        "18-darwin 18-linux 19-darwin 19-linux 20-darwin 20-linux 21-darwin 21-linux",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  fastrand 288 8  alllink "
            "336 8  schedlink 344 8  lockedg 352 8"
        ),
    ),
    (
        "runtime.m",
        "18-windows 19-windows 20-windows 21-windows",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 88 48  mstartfn 136 8  curg 144 8  p 160 8  nextp 168 8  oldp "
            "176 8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  fastrand 240 8  alllink "
            "288 8  schedlink 296 8  lockedg 304 8"
        ),
    ),
    (
        "runtime.m",
        "22-darwin",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 328 8  schedlink "
            "336 8  lockedg 344 8  cheaprand 1968 8"
        ),
    ),
    (
        "runtime.m",
        "22-linux",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 328 8  schedlink "
            "336 8  lockedg 344 8  cheaprand 1848 8"
        ),
    ),
    (
        "runtime.m",
        "22-windows",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 88 48  mstartfn 136 8  curg 144 8  p 160 8  nextp 168 8  oldp "
            "176 8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  alllink 280 8  schedlink "
            "288 8  lockedg 296 8  cheaprand 1840 8"
        ),
    ),
    (
        "runtime.m",
        "23-darwin",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 328 8  schedlink "
            "336 8  lockedg 344 8  cheaprand 1704 8"
        ),
    ),
    (
        "runtime.m",
        "23-linux",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 328 8  schedlink "
            "336 8  lockedg 344 8  cheaprand 1584 8"
        ),
    ),
    (
        "runtime.m",
        "23-windows",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 88 48  mstartfn 136 8  curg 144 8  p 160 8  nextp 168 8  oldp "
            "176 8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  alllink 280 8  schedlink "
            "288 8  lockedg 296 8  cheaprand 1640 8"
        ),
    ),
    (
        "runtime.m",
        "24-darwin",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 352 8  schedlink "
            "360 8  lockedg 368 8  cheaprand 1752 8"
        ),
    ),
    (
        "runtime.m",
        "24-linux",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 352 8  schedlink "
            "360 8  lockedg 368 8  cheaprand 1648 8"
        ),
    ),
    (
        "runtime.m",
        "24-windows",
        (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 88 48  mstartfn 136 8  curg 144 8  p 160 8  nextp 168 8  oldp "
            "176 8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  alllink 304 8  schedlink "
            "312 8  lockedg 320 8  cheaprand 1688 8"
        ),
    ),
    (
        "runtime.m",
        "25-darwin",
        (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 128 48  mstartfn 176 8  curg 184 8  p 200 8  nextp 208 8  oldp "
            "216 8  id 224 8  mallocing 232 4  locks 256 4  spinning 268 1  blocked 269 1  alllink 344 8  schedlink "
            "352 8  lockedg 360 8  cheaprand 1744 8"
        ),
    ),
    (
        "runtime.m",
        "25-linux",
        (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 128 48  mstartfn 176 8  curg 184 8  p 200 8  nextp 208 8  oldp "
            "216 8  id 224 8  mallocing 232 4  locks 256 4  spinning 268 1  blocked 269 1  alllink 344 8  schedlink "
            "352 8  lockedg 360 8  cheaprand 1640 8"
        ),
    ),
    (
        "runtime.m",
        "25-windows",
        (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 80 48  mstartfn 128 8  curg 136 8  p 152 8  nextp 160 8  oldp "
            "168 8  id 176 8  mallocing 184 4  locks 208 4  spinning 220 1  blocked 221 1  alllink 296 8  schedlink "
            "304 8  lockedg 312 8  cheaprand 1680 8"
        ),
    ),
    (
        "runtime.m",
        "26-darwin",
        (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 128 48  mstartfn 176 8  curg 184 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 352 8  schedlink "
            "360 8  lockedg 384 8  cheaprand 1752 8"
        ),
    ),
    (
        "runtime.m",
        "26-linux",
        (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 128 48  mstartfn 176 8  curg 184 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 352 8  schedlink "
            "360 8  lockedg 384 8  cheaprand 1640 8"
        ),
    ),
    (
        "runtime.m",
        "26-windows",
        (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 80 48  mstartfn 128 8  curg 136 8  p 160 8  nextp 168 8  oldp "
            "176 8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  alllink 304 8  schedlink "
            "312 8  lockedg 336 8  cheaprand 1728 8"
        ),
    ),
    (
        "runtime.m",
        "27-darwin",
        (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 128 48  mstartfn 176 8  curg 184 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 352 8  schedlink "
            "360 8  lockedg 384 8  cheaprand 1744 4"
        ),
    ),
    (
        "runtime.m",
        "27-linux",
        (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 128 48  mstartfn 176 8  curg 184 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 352 8  schedlink "
            "360 8  lockedg 384 8  cheaprand 1640 4"
        ),
    ),
    (
        "runtime.m",
        "27-windows",
        (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 80 48  mstartfn 128 8  curg 136 8  p 160 8  nextp 168 8  oldp "
            "176 8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  alllink 304 8  schedlink "
            "312 8  lockedg 336 8  cheaprand 1712 4"
        ),
    ),
    (
        "runtime.p",
        "15-darwin 15-linux 15-windows 16-darwin 16-linux 16-windows 17-darwin 17-linux 17-windows",
        (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 56 8  mcache 64 8  runqhead 1520 4 "
            "runqtail 1524 4  runnext 3576 8"
        ),
    ),
    (
        "runtime.p",
        (
            "18-darwin 18-linux 18-windows 19-darwin 19-linux 19-windows 20-darwin 20-linux 20-windows 21-darwin "
            "21-linux 21-windows 22-darwin 22-linux 22-windows"
        ),
        (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 56 8  mcache 64 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
    ),
    (
        "runtime.p",
        "23-darwin 23-linux 23-windows 24-darwin 24-linux 24-windows 25-darwin 25-linux 25-windows",
        (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 392 4 "
            "runqtail 396 4  runnext 2448 8"
        ),
    ),
    (
        "runtime.p",
        "26-darwin 26-linux 26-windows 27-darwin 27-linux 27-windows",
        (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
    ),
    (
        "runtime.schedt",
        "15-darwin 15-linux 15-windows 16-darwin 16-linux 16-windows 17-darwin 17-linux 17-windows",
        (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 112 4  gcwaiting 256 4  stopwait 260 4  sysmonwait 272 4 "
            "procresizetime 320 8"
        ),
    ),
    (
        "runtime.schedt",
        "18-darwin 18-linux 18-windows 19-darwin 19-linux 19-windows",
        (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 112 4  gcwaiting 224 4  stopwait 228 4  sysmonwait 240 4 "
            "procresizetime 288 8"
        ),
    ),
    (
        "runtime.schedt",
        (
            "20-darwin 20-linux 20-windows 21-darwin 21-linux 21-windows 22-darwin 22-linux 22-windows 23-darwin "
            "23-linux 23-windows 24-darwin 24-linux 24-windows"
        ),
        (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 120 4  gcwaiting 232 1  stopwait 236 4  sysmonwait 248 1 "
            "procresizetime 296 8"
        ),
    ),
    (
        "runtime.schedt",
        "25-darwin 25-linux 25-windows",
        (
            "goidgen 0 8  lastpoll 8 8  nmidle 48 4  mnext 56 8  maxmcount 64 4  nmsys 68 4  ngsys 80 4  pidle 88 8 "
            "npidle 96 4  nmspinning 100 4  runqsize 128 4  gcwaiting 248 1  stopwait 252 4  sysmonwait 264 1 "
            "procresizetime 312 8"
        ),
    ),
    (
        "runtime.schedt",
        "26-darwin 26-linux 26-windows 27-darwin 27-linux 27-windows",
        (
            "goidgen 0 8  lastpoll 8 8  nmidle 64 4  mnext 72 8  maxmcount 80 4  nmsys 84 4  ngsys 96 4  pidle 104 "
            "8  npidle 112 4  nmspinning 116 4  runqsize 144 4  gcwaiting 264 1  stopwait 268 4  sysmonwait 280 1 "
            "procresizetime 328 8"
        ),
    ),
)


def _fields(text: str) -> dict[str, tuple[int, int]]:
    words = text.split()
    return {words[i]: (int(words[i + 1]), int(words[i + 2])) for i in range(0, len(words), 3)}


def _known() -> dict[tuple[int, str], dict[str, dict[str, tuple[int, int]]]]:
    out: dict[tuple[int, str], dict[str, dict[str, tuple[int, int]]]] = {}
    for struct, keys, text in _TABLES:
        fields = _fields(text)
        for key in keys.split():
            minor, _, system = key.partition("-")
            out.setdefault((int(minor), system), {})[struct] = fields
    return out


# (1.N, system) -> structure -> field -> (offset, size)
KNOWN: dict[tuple[int, str], dict[str, dict[str, tuple[int, int]]]] = _known()
