"""What this package changes in RecBole, so that it finds our models, settings and trainers."""
