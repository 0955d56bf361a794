"""Talk: the messages, the frames they travel in, and the places where one listens."""
