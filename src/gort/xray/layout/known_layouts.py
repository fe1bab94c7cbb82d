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
        "21-linux/386 22-linux/386",
        (
            "stack.lo 0 4  stack.hi 4 4  stackguard0 8 4  stackguard1 12 4  m 24 4  sched.sp 28 4  sched.pc 32 4 "
            "atomicstatus 72 4  goid 80 8  waitreason 100 1  lockedm 132 4  parentGoid 164 8  gopc 172 4  startpc "
            "180 4"
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
        "23-linux/386",
        (
            "stack.lo 0 4  stack.hi 4 4  stackguard0 8 4  stackguard1 12 4  m 24 4  sched.sp 28 4  sched.pc 32 4 "
            "atomicstatus 76 4  goid 84 8  waitreason 104 1  lockedm 136 4  parentGoid 168 8  gopc 176 4  startpc "
            "184 4"
        ),
    ),
    (
        "runtime.g",
        "24-linux/386",
        (
            "stack.lo 0 4  stack.hi 4 4  stackguard0 8 4  stackguard1 12 4  m 24 4  sched.sp 28 4  sched.pc 32 4 "
            "atomicstatus 76 4  goid 84 8  waitreason 104 1  lockedm 136 4  parentGoid 172 8  gopc 180 4  startpc "
            "188 4"
        ),
    ),
    (
        "runtime.g",
        "25-linux/386",
        (
            "stack.lo 0 4  stack.hi 4 4  stackguard0 8 4  stackguard1 12 4  m 24 4  sched.sp 28 4  sched.pc 32 4 "
            "atomicstatus 72 4  goid 80 8  waitreason 100 1  lockedm 132 4  parentGoid 168 8  gopc 176 4  startpc "
            "184 4"
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
        "runtime.g",
        "26-linux/386 27-linux/386",
        (
            "stack.lo 0 4  stack.hi 4 4  stackguard0 8 4  stackguard1 12 4  m 24 4  sched.sp 28 4  sched.pc 32 4 "
            "atomicstatus 72 4  goid 80 8  waitreason 100 1  lockedm 132 4  parentGoid 176 8  gopc 184 4  startpc "
            "192 4"
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
        "21-linux/386",
        (
            "g0 0 4  procid 40 8  gsignal 48 4  tls 80 24  mstartfn 104 4  curg 108 4  p 116 4  nextp 120 4  oldp "
            "124 4  id 128 8  mallocing 136 4  locks 152 4  spinning 164 1  blocked 165 1  fastrand 176 8  alllink "
            "212 4  schedlink 216 4  lockedg 220 4"
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
        "22-linux/386",
        (
            "g0 0 4  procid 40 8  gsignal 48 4  tls 80 24  mstartfn 104 4  curg 108 4  p 116 4  nextp 120 4  oldp "
            "124 4  id 128 8  mallocing 136 4  locks 152 4  spinning 164 1  blocked 165 1  alllink 204 4  schedlink "
            "208 4  lockedg 212 4  cheaprand 1204 8"
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
        "23-linux/386",
        (
            "g0 0 4  procid 40 8  gsignal 48 4  tls 80 24  mstartfn 104 4  curg 108 4  p 116 4  nextp 120 4  oldp "
            "124 4  id 128 8  mallocing 136 4  locks 152 4  spinning 164 1  blocked 165 1  alllink 204 4  schedlink "
            "208 4  lockedg 212 4  cheaprand 1080 8"
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
        "24-linux/386",
        (
            "g0 0 4  procid 40 8  gsignal 48 4  tls 80 24  mstartfn 104 4  curg 108 4  p 116 4  nextp 120 4  oldp "
            "124 4  id 128 8  mallocing 136 4  locks 152 4  spinning 164 1  blocked 165 1  alllink 216 4  schedlink "
            "220 4  lockedg 224 4  cheaprand 1112 8"
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
        "25-linux/386",
        (
            "g0 0 4  procid 32 8  gsignal 40 4  tls 72 24  mstartfn 96 4  curg 100 4  p 108 4  nextp 112 4  oldp "
            "116 4  id 120 8  mallocing 128 4  locks 144 4  spinning 156 1  blocked 157 1  alllink 208 4  schedlink "
            "212 4  lockedg 216 4  cheaprand 1104 8"
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
        "26-linux/386",
        (
            "g0 0 4  procid 32 8  gsignal 40 4  tls 72 24  mstartfn 96 4  curg 100 4  p 112 4  nextp 116 4  oldp "
            "120 4  id 124 8  mallocing 132 4  locks 148 4  spinning 160 1  blocked 161 1  alllink 212 4  schedlink "
            "216 4  lockedg 228 4  cheaprand 1100 8"
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
        "27-linux/386",
        (
            "g0 0 4  procid 32 8  gsignal 40 4  tls 72 24  mstartfn 96 4  curg 100 4  p 112 4  nextp 116 4  oldp "
            "120 4  id 124 8  mallocing 132 4  locks 148 4  spinning 160 1  blocked 161 1  alllink 212 4  schedlink "
            "216 4  lockedg 228 4  cheaprand 1100 4"
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
        "21-linux/386 22-linux/386 23-linux/386 24-linux/386 25-linux/386",
        (
            "id 0 4  status 4 4  link 8 4  schedtick 12 4  syscalltick 16 4  m 44 4  mcache 48 4  runqhead 232 4 "
            "runqtail 236 4  runnext 1264 4"
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
        "runtime.p",
        "26-linux/386 27-linux/386",
        (
            "id 0 4  status 4 4  link 8 4  schedtick 12 4  syscalltick 16 4  m 44 4  mcache 48 4  runqhead 236 4 "
            "runqtail 240 4  runnext 1268 4"
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
        "21-linux/386 22-linux/386 23-linux/386 24-linux/386",
        (
            "goidgen 0 8  lastpoll 8 8  nmidle 32 4  mnext 40 8  maxmcount 48 4  nmsys 52 4  ngsys 64 4  pidle 68 4 "
            "npidle 72 4  nmspinning 76 4  runqsize 92 4  gcwaiting 148 1  stopwait 152 4  sysmonwait 160 1 "
            "procresizetime 184 8"
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
        "25-linux/386",
        (
            "goidgen 0 8  lastpoll 8 8  nmidle 36 4  mnext 44 8  maxmcount 52 4  nmsys 56 4  ngsys 68 4  pidle 72 4 "
            "npidle 76 4  nmspinning 80 4  runqsize 96 4  gcwaiting 156 1  stopwait 160 4  sysmonwait 168 1 "
            "procresizetime 192 8"
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
    (
        "runtime.schedt",
        "26-linux/386 27-linux/386",
        (
            "goidgen 0 8  lastpoll 8 8  nmidle 44 4  mnext 52 8  maxmcount 60 4  nmsys 64 4  ngsys 76 4  pidle 84 4 "
            "npidle 88 4  nmspinning 92 4  runqsize 108 4  gcwaiting 168 1  stopwait 172 4  sysmonwait 180 1 "
            "procresizetime 204 8"
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
