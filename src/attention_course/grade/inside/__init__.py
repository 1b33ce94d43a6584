"""What is mounted into the sandbox and runs there. Imports `learn`, nothing else.

    warm process  →  supervisor (first process of a submission)  →  notebook process

The warm process has everything imported and is forked for each submission into
namespaces of its own. The supervisor in there starts one notebook process for each
exercise, passes on what it says, and kills all of them; it runs no student code. A
notebook process gives up all rights, runs cells, and then observes one answer.
"""

NOTEBOOK = "/notebook"
"""The folder in which a notebook runs."""
