"""What the exit status of ``refconv`` says. A traceback, which is a bug, gives 1, an interruption 130."""

MISTAKE = 2
"""The user asked for something impossible; one line on stderr says what."""

FAILED = 3
"""The command did its work, and the certificate it was asked for does not hold."""
