"""Train, the fourth stage: pairs to a model folder, and which model of a study is used."""
