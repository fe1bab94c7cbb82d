"""Field offsets and sizes of g, m, p and schedt per Go release (1.N) and system, for stripped files.

Written by `python -m gort.xray.layout.layouts_tool` from the DWARF of programs built with each release; the test
`test_layout.py` compares it with the DWARF of freshly built ones. Do not edit.

A table is text, `field offset size` after `field offset size`, so that seven releases of three systems stay readable.
"""

from __future__ import annotations

_TABLES: dict[tuple[int, str], dict[str, str]] = {
    (21, "darwin"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 272 8  gopc 280 8  startpc "
            "296 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 336 8  schedlink "
            "344 8  lockedg 352 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 56 8  mcache 64 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 120 4  gcwaiting 232 1  stopwait 236 4  sysmonwait 248 1 "
            "procresizetime 296 8"
        ),
    },
    (21, "linux"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 272 8  gopc 280 8  startpc "
            "296 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 336 8  schedlink "
            "344 8  lockedg 352 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 56 8  mcache 64 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 120 4  gcwaiting 232 1  stopwait 236 4  sysmonwait 248 1 "
            "procresizetime 296 8"
        ),
    },
    (21, "windows"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 272 8  gopc 280 8  startpc "
            "296 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 88 48  mstartfn 136 8  curg 144 8  p 160 8  nextp 168 8  oldp 176 "
            "8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  alllink 288 8  schedlink 296 8 "
            "lockedg 304 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 56 8  mcache 64 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 120 4  gcwaiting 232 1  stopwait 236 4  sysmonwait 248 1 "
            "procresizetime 296 8"
        ),
    },
    (22, "darwin"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 272 8  gopc 280 8  startpc "
            "296 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 328 8  schedlink "
            "336 8  lockedg 344 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 56 8  mcache 64 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 120 4  gcwaiting 232 1  stopwait 236 4  sysmonwait 248 1 "
            "procresizetime 296 8"
        ),
    },
    (22, "linux"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 272 8  gopc 280 8  startpc "
            "296 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 328 8  schedlink "
            "336 8  lockedg 344 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 56 8  mcache 64 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 120 4  gcwaiting 232 1  stopwait 236 4  sysmonwait 248 1 "
            "procresizetime 296 8"
        ),
    },
    (22, "windows"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 272 8  gopc 280 8  startpc "
            "296 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 88 48  mstartfn 136 8  curg 144 8  p 160 8  nextp 168 8  oldp 176 "
            "8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  alllink 280 8  schedlink 288 8 "
            "lockedg 296 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 56 8  mcache 64 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 120 4  gcwaiting 232 1  stopwait 236 4  sysmonwait 248 1 "
            "procresizetime 296 8"
        ),
    },
    (23, "darwin"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 152 4  goid 160 8  waitreason 184 1  lockedm 216 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 328 8  schedlink "
            "336 8  lockedg 344 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 392 4 "
            "runqtail 396 4  runnext 2448 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 120 4  gcwaiting 232 1  stopwait 236 4  sysmonwait 248 1 "
            "procresizetime 296 8"
        ),
    },
    (23, "linux"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 152 4  goid 160 8  waitreason 184 1  lockedm 216 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 328 8  schedlink "
            "336 8  lockedg 344 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 392 4 "
            "runqtail 396 4  runnext 2448 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 120 4  gcwaiting 232 1  stopwait 236 4  sysmonwait 248 1 "
            "procresizetime 296 8"
        ),
    },
    (23, "windows"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 152 4  goid 160 8  waitreason 184 1  lockedm 216 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 88 48  mstartfn 136 8  curg 144 8  p 160 8  nextp 168 8  oldp 176 "
            "8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  alllink 280 8  schedlink 288 8 "
            "lockedg 296 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 392 4 "
            "runqtail 396 4  runnext 2448 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 120 4  gcwaiting 232 1  stopwait 236 4  sysmonwait 248 1 "
            "procresizetime 296 8"
        ),
    },
    (24, "darwin"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 152 4  goid 160 8  waitreason 184 1  lockedm 216 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 352 8  schedlink "
            "360 8  lockedg 368 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 392 4 "
            "runqtail 396 4  runnext 2448 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 120 4  gcwaiting 232 1  stopwait 236 4  sysmonwait 248 1 "
            "procresizetime 296 8"
        ),
    },
    (24, "linux"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 152 4  goid 160 8  waitreason 184 1  lockedm 216 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 136 48  mstartfn 184 8  curg 192 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 352 8  schedlink "
            "360 8  lockedg 368 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 392 4 "
            "runqtail 396 4  runnext 2448 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 120 4  gcwaiting 232 1  stopwait 236 4  sysmonwait 248 1 "
            "procresizetime 296 8"
        ),
    },
    (24, "windows"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 152 4  goid 160 8  waitreason 184 1  lockedm 216 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 72 8  gsignal 80 8  tls 88 48  mstartfn 136 8  curg 144 8  p 160 8  nextp 168 8  oldp 176 "
            "8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  alllink 304 8  schedlink 312 8 "
            "lockedg 320 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 392 4 "
            "runqtail 396 4  runnext 2448 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 40 4  mnext 48 8  maxmcount 56 4  nmsys 60 4  ngsys 72 4  pidle 80 8 "
            "npidle 88 4  nmspinning 92 4  runqsize 120 4  gcwaiting 232 1  stopwait 236 4  sysmonwait 248 1 "
            "procresizetime 296 8"
        ),
    },
    (25, "darwin"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 272 8  gopc 280 8  startpc "
            "296 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 128 48  mstartfn 176 8  curg 184 8  p 200 8  nextp 208 8  oldp "
            "216 8  id 224 8  mallocing 232 4  locks 256 4  spinning 268 1  blocked 269 1  alllink 344 8  schedlink "
            "352 8  lockedg 360 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 392 4 "
            "runqtail 396 4  runnext 2448 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 48 4  mnext 56 8  maxmcount 64 4  nmsys 68 4  ngsys 80 4  pidle 88 8 "
            "npidle 96 4  nmspinning 100 4  runqsize 128 4  gcwaiting 248 1  stopwait 252 4  sysmonwait 264 1 "
            "procresizetime 312 8"
        ),
    },
    (25, "linux"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 272 8  gopc 280 8  startpc "
            "296 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 128 48  mstartfn 176 8  curg 184 8  p 200 8  nextp 208 8  oldp "
            "216 8  id 224 8  mallocing 232 4  locks 256 4  spinning 268 1  blocked 269 1  alllink 344 8  schedlink "
            "352 8  lockedg 360 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 392 4 "
            "runqtail 396 4  runnext 2448 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 48 4  mnext 56 8  maxmcount 64 4  nmsys 68 4  ngsys 80 4  pidle 88 8 "
            "npidle 96 4  nmspinning 100 4  runqsize 128 4  gcwaiting 248 1  stopwait 252 4  sysmonwait 264 1 "
            "procresizetime 312 8"
        ),
    },
    (25, "windows"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 272 8  gopc 280 8  startpc "
            "296 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 80 48  mstartfn 128 8  curg 136 8  p 152 8  nextp 160 8  oldp 168 "
            "8  id 176 8  mallocing 184 4  locks 208 4  spinning 220 1  blocked 221 1  alllink 296 8  schedlink 304 8 "
            "lockedg 312 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 392 4 "
            "runqtail 396 4  runnext 2448 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 48 4  mnext 56 8  maxmcount 64 4  nmsys 68 4  ngsys 80 4  pidle 88 8 "
            "npidle 96 4  nmspinning 100 4  runqsize 128 4  gcwaiting 248 1  stopwait 252 4  sysmonwait 264 1 "
            "procresizetime 312 8"
        ),
    },
    (26, "darwin"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 128 48  mstartfn 176 8  curg 184 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 352 8  schedlink "
            "360 8  lockedg 384 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 64 4  mnext 72 8  maxmcount 80 4  nmsys 84 4  ngsys 96 4  pidle 104 8 "
            "npidle 112 4  nmspinning 116 4  runqsize 144 4  gcwaiting 264 1  stopwait 268 4  sysmonwait 280 1 "
            "procresizetime 328 8"
        ),
    },
    (26, "linux"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 128 48  mstartfn 176 8  curg 184 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 352 8  schedlink "
            "360 8  lockedg 384 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 64 4  mnext 72 8  maxmcount 80 4  nmsys 84 4  ngsys 96 4  pidle 104 8 "
            "npidle 112 4  nmspinning 116 4  runqsize 144 4  gcwaiting 264 1  stopwait 268 4  sysmonwait 280 1 "
            "procresizetime 328 8"
        ),
    },
    (26, "windows"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 80 48  mstartfn 128 8  curg 136 8  p 160 8  nextp 168 8  oldp 176 "
            "8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  alllink 304 8  schedlink 312 8 "
            "lockedg 336 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 64 4  mnext 72 8  maxmcount 80 4  nmsys 84 4  ngsys 96 4  pidle 104 8 "
            "npidle 112 4  nmspinning 116 4  runqsize 144 4  gcwaiting 264 1  stopwait 268 4  sysmonwait 280 1 "
            "procresizetime 328 8"
        ),
    },
    (27, "darwin"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 128 48  mstartfn 176 8  curg 184 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 352 8  schedlink "
            "360 8  lockedg 384 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 64 4  mnext 72 8  maxmcount 80 4  nmsys 84 4  ngsys 96 4  pidle 104 8 "
            "npidle 112 4  nmspinning 116 4  runqsize 144 4  gcwaiting 264 1  stopwait 268 4  sysmonwait 280 1 "
            "procresizetime 328 8"
        ),
    },
    (27, "linux"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 128 48  mstartfn 176 8  curg 184 8  p 208 8  nextp 216 8  oldp "
            "224 8  id 232 8  mallocing 240 4  locks 264 4  spinning 276 1  blocked 277 1  alllink 352 8  schedlink "
            "360 8  lockedg 384 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 64 4  mnext 72 8  maxmcount 80 4  nmsys 84 4  ngsys 96 4  pidle 104 8 "
            "npidle 112 4  nmspinning 116 4  runqsize 144 4  gcwaiting 264 1  stopwait 268 4  sysmonwait 280 1 "
            "procresizetime 328 8"
        ),
    },
    (27, "windows"): {
        "runtime.g": (
            "stack.lo 0 8  stack.hi 8 8  stackguard0 16 8  stackguard1 24 8  m 48 8  sched.sp 56 8  sched.pc 64 8 "
            "atomicstatus 144 4  goid 152 8  waitreason 176 1  lockedm 208 8  parentGoid 280 8  gopc 288 8  startpc "
            "304 8"
        ),
        "runtime.m": (
            "g0 0 8  procid 64 8  gsignal 72 8  tls 80 48  mstartfn 128 8  curg 136 8  p 160 8  nextp 168 8  oldp 176 "
            "8  id 184 8  mallocing 192 4  locks 216 4  spinning 228 1  blocked 229 1  alllink 304 8  schedlink 312 8 "
            "lockedg 336 8"
        ),
        "runtime.p": (
            "id 0 4  status 4 4  link 8 8  schedtick 16 4  syscalltick 20 4  m 48 8  mcache 56 8  runqhead 400 4 "
            "runqtail 404 4  runnext 2456 8"
        ),
        "runtime.schedt": (
            "goidgen 0 8  lastpoll 8 8  nmidle 64 4  mnext 72 8  maxmcount 80 4  nmsys 84 4  ngsys 96 4  pidle 104 8 "
            "npidle 112 4  nmspinning 116 4  runqsize 144 4  gcwaiting 264 1  stopwait 268 4  sysmonwait 280 1 "
            "procresizetime 328 8"
        ),
    },
}


def _fields(text: str) -> dict[str, tuple[int, int]]:
    words = text.split()
    return {words[i]: (int(words[i + 1]), int(words[i + 2])) for i in range(0, len(words), 3)}


KNOWN: dict[tuple[int, str], dict[str, dict[str, tuple[int, int]]]] = {
    key: {name: _fields(text) for name, text in table.items()} for key, table in _TABLES.items()
}
