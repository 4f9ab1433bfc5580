"""Image files of every kind, made by one seed: what must be restored, and what must be refused in a line.

`python -m corpus FOLDER`, in `tests`, writes them to look at and prints their names.
"""

from corpus.bad import bad
from corpus.expected import Bad, Good
from corpus.good import good

__all__ = ["Bad", "Good", "bad", "good"]
