"""`python locale/compile.py FILE.po FILE.mo`: compiles translations without gettext's binaries."""

import sys

import polib

if __name__ == "__main__":
    source, target = sys.argv[1:]
    polib.pofile(source).save_as_mofile(target)
