"""`python -m distilshift`, which is also what `accelerate launch -m distilshift` runs."""

from distilshift.cli import start

if __name__ == "__main__":
    start()
