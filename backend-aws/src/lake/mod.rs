//! The lake in S3.
