"""What the attribute classifiers of evaluators/ share: the network's frame, its files, and how it reads images."""
