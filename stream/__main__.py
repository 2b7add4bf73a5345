"""Entry point of ``python -m stream``, the same as ``wootric-stream``."""

from stream.cli.app import main

if __name__ == "__main__":
    main()
