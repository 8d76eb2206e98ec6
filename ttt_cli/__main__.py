"""`python -m ttt_cli`"""

import sys

from ttt_cli.cli import main

sys.exit(main())
