"""What C gives the hot modules: the headers, their .pxd, and the same names for the uncompiled core."""
