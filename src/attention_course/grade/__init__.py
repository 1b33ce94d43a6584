"""What an instructor uses: checking files of answers, and grading a class."""
