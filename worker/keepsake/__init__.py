"""What is laid beside archives, so that they can be read with nothing but them."""
