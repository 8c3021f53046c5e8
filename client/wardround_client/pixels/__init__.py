"""From a file to pixels: pinned decoders in guarded processes, grey images for the model."""
