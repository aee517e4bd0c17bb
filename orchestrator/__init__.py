"""The policy of stagefarm: what is built, where and when; and its command line."""
