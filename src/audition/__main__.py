"""`python -m audition` is the `audition` command."""

from audition.cli.main import main

if __name__ == "__main__":
    main()
