"""`python -m distilshift`, which is also what `accelerate launch -m distilshift` runs."""

from distilshift.cli.main import main

if __name__ == "__main__":
    main()
