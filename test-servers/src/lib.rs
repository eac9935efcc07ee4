//! Servers for the tests of what speaks to S3 and DynamoDB: both in this process, on loopback, in memory alone, and
//! proxies before them which do what a test orders.
//!
//! | module | what it is responsible for |
//! | --- | --- |
//! | [`s3`] | S3 |
//! | [`dynamodb`] | DynamoDB |
//! | [`proxy`] | what is done to requests on their way |
//! | [`control`] | the port at which tests open proxies and give their orders |
//! | `listener` | ports and connections |

pub mod control;
pub mod dynamodb;
mod listener;
pub mod proxy;
pub mod s3;

pub use listener::Listener;
use recstore_test_cloud::Ports;
use std::io;

/// Both servers and the control port. Dropping it closes the ports.
pub struct Servers {
    s3: Listener,
    dynamodb: dynamodb::DynamoDb,
    control: Listener,
}

impl Servers {
    /// Starts them, empty, each on a free port of loopback.
    ///
    /// # Errors
    ///
    /// Where no port can be had.
    pub async fn start() -> io::Result<Self> {
        let keys = s3::Keys::default();
        let s3 = s3::start(keys.clone()).await?;
        let dynamodb = dynamodb::DynamoDb::start().await?;
        let control = control::start(keys, s3.address(), dynamodb.address()).await?;
        Ok(Self { s3, dynamodb, control })
    }

    /// Where they listen.
    pub fn ports(&self) -> Ports {
        Ports {
            s3: self.s3.address().port(),
            dynamodb: self.dynamodb.address().port(),
            control: self.control.address().port(),
        }
    }
}
