"""Is this the kind of image that a run was made for? Tags and statistics of images, their distances, p-values, and reasons in words."""
