"""Contents of the reports about a model: figures and sentences of the model page, and the model card."""
