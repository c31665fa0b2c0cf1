"""`python -m codepath.cli`."""

from codepath.cli import main

if __name__ == "__main__":
    main()
