"""Engines that carry out work in many processes, on one machine or many; what the work is they do not know."""
