"""What several folders of tests need: data, servers, forced order, child programs."""
