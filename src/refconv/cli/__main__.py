"""``python -m refconv.cli``, the same as ``refconv``; torchrun starts it so."""

import sys

from refconv.cli.entry import main

sys.exit(main())
