"""Series of CT, MR and PET to volumes with a correct affine, or a refusal with its reason."""
