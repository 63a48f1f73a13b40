"""What crosses a boundary: records, ports, errors, the archive format. Imports nothing of ours."""
