"""Reading the registry and keeping a copy current: listing, following, the sentinel, and history that goes back."""
