"""When what is due: the times that the configuration names, what they mean by the clock of a zone, and which
operations follow from them. cronsim stays inside this package."""
