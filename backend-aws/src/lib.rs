//! AWS backend of Recstore: a medallion lake in S3, DynamoDB for fast reads.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | `lake` | what lies in S3: bronze events, and later silver tables and gold releases |
//! | `online` | what DynamoDB serves |

pub mod lake;
pub mod online;
