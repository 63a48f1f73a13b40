"""The staging area: where archives are written, sealed and wait."""
