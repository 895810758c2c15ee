"""The native runner's C library: ``build`` compiles it on this machine, ``binding`` calls it."""
