"""Pictures that commands draw on request: a scheme, an explained image, augmented images."""
