"""Small DICOM archives with one trap each, and what a correct reader makes of them."""
