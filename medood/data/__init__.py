"""From a folder to prepared images: opening sources, splitting by patient, the cache."""
