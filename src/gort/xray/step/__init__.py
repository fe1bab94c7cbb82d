"""The debugger of `gort xray --step`: a prompt over the emulation, which goes forwards and backwards."""
