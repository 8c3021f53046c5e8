"""What a site shows of its archive and of what a study finds there."""
