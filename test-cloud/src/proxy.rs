//! A test's own way to the servers: with rules about what is done to its requests, and counts of them.

use crate::cloud::endpoint;
use crate::http::Control;
use crate::{Counts, Rule, RuleState};
use serde::{Deserialize, Serialize};
use std::io;

/// Where a proxy listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyPorts {
    /// Its number.
    pub id: u64,
    /// The port before S3.
    pub s3: u16,
    /// The port before DynamoDB.
    pub dynamodb: u16,
}

/// A proxy before both servers. Dropping it closes its ports and connections.
///
/// Its calls block for the time of a request on loopback.
#[derive(Debug)]
pub struct Proxy {
    control: Control,
    id: u64,
    s3_endpoint: String,
    dynamodb_endpoint: String,
}

/// A rule that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleId(u64);

impl Proxy {
    pub(crate) fn open(control: Control) -> io::Result<Self> {
        let ports: ProxyPorts = control.call("POST", "/proxies", &())?;
        Ok(Self {
            control,
            id: ports.id,
            s3_endpoint: endpoint(ports.s3),
            dynamodb_endpoint: endpoint(ports.dynamodb),
        })
    }

    /// The URL of S3 through this proxy.
    pub fn s3_endpoint(&self) -> &str {
        &self.s3_endpoint
    }

    /// The URL of DynamoDB through this proxy.
    pub fn dynamodb_endpoint(&self) -> &str {
        &self.dynamodb_endpoint
    }

    /// Adds a rule behind those that are there.
    ///
    /// # Errors
    ///
    /// Where the servers are gone.
    pub fn add(&self, rule: &Rule) -> io::Result<RuleId> {
        self.control.call("POST", &self.path("rules"), rule).map(RuleId)
    }

    /// Removes a rule and lets go what it holds.
    ///
    /// # Errors
    ///
    /// Where there is no such rule any more, or the servers are gone.
    pub fn remove(&self, rule: RuleId) -> io::Result<()> {
        self.control.call("DELETE", &self.path(&format!("rules/{}", rule.0)), &())
    }

    /// Removes all rules and lets go what they hold.
    ///
    /// # Errors
    ///
    /// Where the servers are gone.
    pub fn clear(&self) -> io::Result<()> {
        self.control.call("DELETE", &self.path("rules"), &())
    }

    /// The rules in their order, with how often they matched and acted.
    ///
    /// # Errors
    ///
    /// Where the servers are gone.
    pub fn rules(&self) -> io::Result<Vec<RuleState>> {
        self.control.call("GET", &self.path("rules"), &())
    }

    /// On how many requests the rule acted: a test that orders a fault looks here whether it happened.
    ///
    /// # Errors
    ///
    /// Where there is no such rule any more, or the servers are gone.
    pub fn fired(&self, rule: RuleId) -> io::Result<u64> {
        let state = self.rules()?.into_iter().find(|state| state.id == rule.0);
        state.map(|state| state.fired).ok_or_else(|| io::Error::other("the rule was removed"))
    }

    /// What was counted since the proxy was opened, or the counts were reset.
    ///
    /// # Errors
    ///
    /// Where the servers are gone.
    pub fn counts(&self) -> io::Result<Counts> {
        self.control.call("GET", &self.path("counts"), &())
    }

    /// Counts from nothing again.
    ///
    /// # Errors
    ///
    /// Where the servers are gone.
    pub fn reset_counts(&self) -> io::Result<()> {
        self.control.call("DELETE", &self.path("counts"), &())
    }

    fn path(&self, of: &str) -> String {
        format!("/proxies/{}/{of}", self.id)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Where the servers are gone, so is the proxy.
        let _ = self.control.call::<()>("DELETE", &format!("/proxies/{}", self.id), &());
    }
}
