"""The kitchen (Celery): claims films, runs the network, stores results."""
