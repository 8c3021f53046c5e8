"""The page a clinician reads: figures, words and one template, from results alone."""
