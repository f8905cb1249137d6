"""`bocage plan`: what a site will do on the days to come, as the calendar decides. Each service tells its own part."""
