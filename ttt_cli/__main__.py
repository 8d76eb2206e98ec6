"""`python -m ttt_cli`"""

import sys

from ttt_cli.cli import main

if __name__ == "__main__":  # Worker processes import this module, too.
    sys.exit(main())
