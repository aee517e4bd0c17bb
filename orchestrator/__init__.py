"""What should be built, where and when: the policy of stagefarm, and its command line."""
