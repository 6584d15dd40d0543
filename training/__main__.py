"""``python -m training VERB`` is ``foldin VERB``."""

from training.cli import main

if __name__ == "__main__":
    main()
