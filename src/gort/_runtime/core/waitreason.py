"""Why a goroutine waits: Go's waitReason (runtime/runtime2.go), with the words that Go's dumps use.

An operation gives one of these numbers from `reason()`; WAITREASON has the words.
"""

WAIT_CHAN_RECEIVE = 1
WAIT_CHAN_SEND = 2
WAIT_SELECT = 3
WAIT_SELECT_NO_CASES = 4
WAIT_SLEEP = 5
WAIT_SEMACQUIRE = 6
WAIT_MUTEX = 7
WAIT_RWMUTEX_R = 8
WAIT_RWMUTEX_W = 9
WAIT_WAITGROUP = 10
WAIT_COND = 11
WAIT_IO = 12
WAIT_BLOCKING = 13

WAITREASON = {
    0: "",
    WAIT_CHAN_RECEIVE: "chan receive",
    WAIT_CHAN_SEND: "chan send",
    WAIT_SELECT: "select",
    WAIT_SELECT_NO_CASES: "select (no cases)",
    WAIT_SLEEP: "sleep",
    WAIT_SEMACQUIRE: "semacquire",
    WAIT_MUTEX: "sync.Mutex.Lock",
    WAIT_RWMUTEX_R: "sync.RWMutex.RLock",
    WAIT_RWMUTEX_W: "sync.RWMutex.Lock",
    WAIT_WAITGROUP: "sync.WaitGroup.Wait",
    WAIT_COND: "sync.Cond.Wait",
    WAIT_IO: "IO wait",
    WAIT_BLOCKING: "blocking call",
}
