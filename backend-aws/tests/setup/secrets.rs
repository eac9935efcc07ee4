//! No secret is in any answer, error or Debug output.

use std::error::Error as StdError;
use std::sync::Arc;

use recstore_aws::setup::Setup;
use recstore_aws::setup::roles::Role;
use recstore_core::{Error, SystemClock};

use crate::support::{Place, environment, soon};

const SECRET: &str = "not-to-be-seen-anywhere";

fn all_of(error: &Error) -> String {
    let mut text = format!("{error:?} {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(" {error:?} {error}");
        cause = error.source();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_shown_whatever_fails() {
    let place = Place::new().await;
    let made = place.made().await;
    let plan = made.plan(soon()).await.unwrap();
    let environment = environment(Some(SECRET), Arc::new(SystemClock)).await;
    let setup = Setup::new(&environment, &place.config, 1).unwrap();
    let mut shown = format!("{setup:?} {setup:#?} {environment:?} {:?} {plan:?} {plan}", setup.scope(None));
    for role in Role::ALL {
        shown += &format!("{:?}", setup.doctor(role, soon()).await);
    }
    let failures = [
        setup.plan(soon()).await.err(),
        setup.probe(3, soon()).await.err(),
        setup.teardown(place.confirmation(), soon()).await.err(),
    ];
    for error in failures.iter().flatten() {
        shown += &all_of(error);
    }
    // A server that looks at signatures refuses them all.
    #[cfg(fault_proxy)]
    assert_eq!(failures.iter().flatten().count(), 3);
    assert!(shown.len() > 1000 && !shown.contains(SECRET), "{shown}");
}
