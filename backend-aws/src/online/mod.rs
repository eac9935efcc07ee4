//! What DynamoDB serves.
