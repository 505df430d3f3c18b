"""The console script, also `python -m stream`.

NumPy, SciPy and OpenCV each bring an OpenBLAS, which starts a thread for every core but the first and lets it spin for
0.1 s. We multiply no large matrices: in a trial on two cores a run of ten frames took 1.65 s of CPU with them and 1.20
without (medians of five). The switch has to stand before the first of those imports.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from stream.cli import main

if __name__ == "__main__":
    main()
