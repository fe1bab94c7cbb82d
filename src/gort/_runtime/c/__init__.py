"""The C code that the hot modules use: the headers, their .pxd, and Python functions of the same names for the
uncompiled core."""
