"""``python -m refconv.cli``, the same as ``refconv``; torchrun starts it so."""

import sys

from refconv.cli.app import main

sys.exit(main())
