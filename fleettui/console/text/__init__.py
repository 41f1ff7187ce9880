"""How values become text: cells, tones, numbers and times in words, keys, subjects. Pure."""
