"""What is said of a model: the model page's figures and sentences, and the model card."""
