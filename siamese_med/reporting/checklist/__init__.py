"""Checklists for a publication (CLAIM, TRIPOD+AI), filled in from what a model folder and a study hold."""
