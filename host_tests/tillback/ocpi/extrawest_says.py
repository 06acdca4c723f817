"""Run by build/ocpi's Python: a CDR (JSON) a line in; what extrawest-ocpi says of it a line out,
nothing when it takes it."""

import json
import sys

from py_ocpi.modules.cdrs.v_2_2_1.schemas import Cdr
from pydantic import ValidationError


def main() -> None:
    for line in sys.stdin:
        try:
            Cdr(**json.loads(line))
        except (ValidationError, TypeError, AttributeError) as error:
            print(json.dumps(str(error)))
        else:
            print('""')


if __name__ == "__main__":
    main()
