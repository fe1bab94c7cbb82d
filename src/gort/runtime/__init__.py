"""The scheduler: what Go calls package runtime.  gort.runtime is its public face; the modules beside this file are not.

Import order follows the house: structures, operations, queues, hand-over, timers, proc, channels.
"""
