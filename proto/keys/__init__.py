"""Keys of archives: what is encrypted under which key, and for whom the keys are wrapped."""
