"""``python -m stream`` is ``wootric-stream``."""

from stream.cli.app import main

if __name__ == "__main__":
    main()
