"""What can be run: model entries, their variants and licences, and readers of model file headers."""
