"""python -m tillback"""

import sys

from tillback.cli import main

if __name__ == "__main__":
    sys.exit(main())
