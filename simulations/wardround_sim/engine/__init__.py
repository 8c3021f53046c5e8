"""Where virtual sites run: in a pool of processes of our own, or on Flower's Ray engine."""
