"""What of archives is still needed, and writing them anew without the rest."""
