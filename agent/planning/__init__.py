"""`bocage plan`: what a site will do on the days to come, by the calendar. Each service has its own part."""
