"""One module a source of images. Sources know nothing of one another."""
