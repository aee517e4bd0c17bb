"""Where builds are stored: a folder that all hosts see, or a bucket of S3; and the client of S3."""
