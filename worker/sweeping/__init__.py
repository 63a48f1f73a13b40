"""What a sweep has done where the archives are: files are put at a place, looked for there, removed."""
