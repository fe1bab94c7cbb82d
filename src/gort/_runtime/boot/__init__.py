"""The boot, from _rt0 to mstart; running a program and ending it; threads outside that wait."""
