"""What an owner installs: unit, package, image, manifest, and the settings that come with them."""
