"""Labels of imaging studies: a CSV file, structured reports, segmentations."""
