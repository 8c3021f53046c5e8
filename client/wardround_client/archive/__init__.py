"""Where a site's files come from: a folder, DICOMweb or DIMSE behind one interface."""
