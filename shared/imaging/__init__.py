"""From bytes to film, film to network input, saliency to picture: pure functions and one sandbox."""
