"""``python -m refconv``, the same as ``refconv``; torchrun starts it so."""

import sys

from refconv.cli import main

sys.exit(main())
