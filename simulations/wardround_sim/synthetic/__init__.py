"""Synthetic hospitals: valid DICOM chest radiographs of a numerical phantom, with known truth."""
