"""The notebook uses magics, shell commands and a pip install."""

from bad_submissions.kit import Submission


def make(s: Submission) -> None:
    s.insert("%matplotlib inline\n%timeit -n1 -r1 1 + 1\n!pip install torch\n!ls", 3)
    s.insert("%%capture\nprint('hidden')", 4)
    s.insert("%load_ext autoreload\n%autoreload 2", 3)
