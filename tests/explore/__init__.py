"""Systematic exploration of the uncompiled core's interleavings: see test_explore.py, and HACKING.md on its use."""
