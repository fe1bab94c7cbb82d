"""The scopes of a goroutine, and the cancellations that they bring.  Go has no cancellation of goroutines.

A goroutine is in a chain of scopes: the blocks in it that can be cancelled by themselves (a Group's body, a timeout),
innermost first, and at the end the goroutine as a whole, once somebody has cancelled that.  Each scope has a
cancellation of its own, so none replaces another.  The rules:
- A request is raised once, at an await.  Those that come before it is raised are the same request.
- If several scopes have a pending request, that of the outermost is raised: to end it ends the others.  The others stay
  pending until their scope is left.
- To leave a scope withdraws its request, whether it was raised or not.
- A scope with `shield` holds off the requests of all scopes further out until it is left.
- Who catches a Cancelled that is not its own and ends with something else rearms it: it is raised again, at the next
  await.
G.cancelexc caches which request is the next to be raised.

What does not live here: how a cancellation wakes a goroutine that waits (handoff.py), where it is raised (op.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.runtime2 import (
    SCOPE_LEFT,
    SCOPE_PENDING,
    SCOPE_RAISED,
    G,
    Scope,
    _Gdead,
)

from gort._runtime.core.errors import Cancelled, context_of, is_a

rt_import()


def pick(g):
    """Finds the exception that g gets at its next operation, after a change in its scopes.  g's lock is held."""
    found: Scope = None
    scope: Scope = g.scope
    open_: cython.bint = True
    while scope is not None:
        if scope.state == SCOPE_PENDING and (open_ or scope.force):
            found = scope
        if scope.shield:
            open_ = False
        scope = scope.outer
    # The old exception is not freed here, under the lock: its scope still refers to it.
    g.cancelexc = None if found is None else found.exc
    g.cancelflag = found is not None


def taken(g):
    """Marks g's next cancellation as raised and returns its exception, or None.  g's lock is held."""
    exc = g.cancelexc
    scope: Scope = g.scope
    while scope is not None:
        if scope.state == SCOPE_PENDING and scope.exc is exc:
            scope.state = SCOPE_RAISED
        scope = scope.outer
    pick(g)
    return exc


def take_cancel(g):
    """Takes the cancellation that is pending on the running goroutine g, if there is one that no shield holds off.
    Returns its exception, which the caller raises, or None."""
    g.lock()
    exc = taken(g)
    g.unlock()
    return exc


def put_back(g):
    """Makes the cancellation pending again with which the running goroutine g was resumed, if its scope has not been
    left: it was not raised at the await, so the next one is asked anew what holds it off."""
    scope: Scope
    exc: object
    g.lock()
    exc = g.throw
    g.throw = None
    scope = g.scope
    while scope is not None:
        if scope.state == SCOPE_RAISED and scope.exc is exc:
            scope.state = SCOPE_PENDING
        scope = scope.outer
    pick(g)
    g.unlock()


def request(g, goid, scope, exc, force):
    """Makes exc the pending cancellation of a scope of goroutine `goid`, unless an earlier one has not been raised yet.
    False when the goroutine has ended or has left the scope.  A new root scope is entered here, if there is none.

    The caller then looks if the goroutine waits and must be woken (handoff.cancel)."""
    last: Scope = None
    old: object = None  # freed after the lock is released
    g.lock()
    if g.goid != goid or g.status == _Gdead or scope.state == SCOPE_LEFT:
        g.unlock()
        return False
    if scope.root:
        last = g.scope
        while last is not None and last.outer is not None:
            last = last.outer
        if last is None:
            g.scope = scope
        elif last.root:
            scope = last
        else:
            last.outer = scope
    # `throw` is this scope's when it is on its way to the await.
    if (scope.state != SCOPE_PENDING and (g.throw is None or g.throw is not scope.exc)) or (force and not scope.force):
        old = scope.exc
        scope.exc = exc
        scope.force = force
        scope.state = SCOPE_PENDING
        pick(g)
    g.unlock()
    del old
    return True


def enter_scope(g, scope):
    """Makes scope the innermost scope of the running goroutine g."""
    g.lock()
    scope.g = g
    scope.goid = g.goid
    scope.outer = g.scope
    g.scope = scope
    if scope.shield and g.cancelflag:
        pick(g)
    g.unlock()


def leave_scope(scope):
    """Takes scope out of the chain of its goroutine, and withdraws its cancellation.  Does nothing if the goroutine has
    ended, or has left it before."""
    g: G = scope.g
    inner: Scope
    if g is None:
        return
    g.lock()
    if g.goid == scope.goid and scope.state != SCOPE_LEFT:
        if g.scope is scope:  # else it was left out of order: an async generator was resumed elsewhere
            g.scope = scope.outer
        else:
            inner = g.scope
            while inner is not None and inner.outer is not scope:
                inner = inner.outer
            if inner is not None:
                inner.outer = scope.outer
        scope.state = SCOPE_LEFT
        if g.throw is not None and g.throw is scope.exc:
            g.throw = None  # the operation that was to raise it has not been resumed (proc.throw_in)
        pick(g)
    g.unlock()


def rearm(g, exc):
    """Makes exc, which was raised in the running goroutine g as a cancellation and caught, pending again.  For a caller
    that will raise something else in its place.  False when no scope of g has raised it."""
    found: cython.bint = False
    scope: Scope
    fresh = Cancelled(*exc.args)  # its traceback and context start anew
    g.lock()
    scope = g.scope
    while scope is not None:
        if scope.state == SCOPE_RAISED and scope.exc is exc:
            scope.exc = fresh
            scope.state = SCOPE_PENDING
            found = True
        scope = scope.outer
    pick(g)
    g.unlock()
    return found


def rearm_interrupted(g, exc, handled):
    """Rearms the cancellations of outer scopes that the block was handling when its own cancellation exc interrupted it:
    the block swallows exc, and nobody raises the others again.  handled: the exception that was being handled when the
    block began.  Whoever handles that one does so after the block too."""
    outer: object = context_of(exc)
    seen: list = []
    while outer is not None and outer is not handled and all(outer is not e for e in seen):
        if is_a(outer, Cancelled):
            rearm(g, outer)
        seen.append(outer)
        outer = context_of(outer)
