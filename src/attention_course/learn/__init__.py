"""What a student's notebook imports: `check`, the `device`, figures and data.

Nothing here, and nothing that it imports, holds or can reach a reference answer.
"""

from attention_course.learn.checking import check
from attention_course.learn.devices import device

__all__ = ["check", "device"]
