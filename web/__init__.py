"""The front door (Flask): takes films in, shows what came of them. Never sees TensorFlow."""
