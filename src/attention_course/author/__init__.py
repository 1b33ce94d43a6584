"""What an author of chapters uses: exercises, answer keys, and the build."""
