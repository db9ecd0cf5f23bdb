"""What a training needs to go on after an interruption, to the same bits."""
