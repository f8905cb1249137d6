"""The programme of a site on paper, for `bocage plan`."""
