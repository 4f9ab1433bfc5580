import sys
from pathlib import Path

from corpus import bad, good

for kind in (good, bad):
    place = Path(sys.argv[1], kind.__name__)
    place.mkdir(parents=True)
    for one in kind(place):
        print(kind.__name__, one.name)
