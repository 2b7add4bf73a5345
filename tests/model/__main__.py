"""`make model`: every variant of the protocol, and the shortest way to what goes wrong in it."""

import argparse
import sys

from rows import ROWS


def main() -> None:
    """Explore all variants, or those whose names hold the words that are given."""
    parser = argparse.ArgumentParser(prog="make model", description=__doc__)
    parser.add_argument("words", nargs="*", help="only variants whose names hold these words")
    wanted = " ".join(parser.parse_args().words)
    agrees = True
    for row in ROWS:
        if wanted in row.variant:
            found = row.explore()
            agrees &= (found.violation or "none") == row.result
            print(f"{row.variant} ({row.kind}): {found}\n", flush=True)
    sys.exit(0 if agrees else 1)


if __name__ == "__main__":
    main()
