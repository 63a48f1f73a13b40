"""The mail store as it is now, beside what is stored of it: looked through, and mended message by message."""
