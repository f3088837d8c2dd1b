"""One seed again, with all that happens in it: python -m tests.simulation SEED."""

import sys

from tests.simulation.run import run

if __name__ == "__main__":
    outcome = run(int(sys.argv[1]), tracing=True)
    print(*outcome.trace, *(outcome.wrongs or ["as without trouble"]), sep="\n")
    sys.exit(1 if outcome.wrongs else 0)
