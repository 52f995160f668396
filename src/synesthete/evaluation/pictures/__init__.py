"""What a model of pictures is worth: judges, features, distances between sets, memorisation."""
