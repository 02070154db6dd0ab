"""The look of all figures: colours, panels, numbers as people read them."""
