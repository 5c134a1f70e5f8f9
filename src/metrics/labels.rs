//! Labels. Their values are words of this program, names from the configuration, or of watched tables, and then bounded in number.

use prometheus_client::encoding::EncodeLabelSet;

/// A label `transport`: `sse`, `websocket` or `json`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Transport {
    pub(super) transport: &'static str,
}

/// A label `reason`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
}

/// A label `channel`: `ours`, or `plain` for all of the configuration together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Channel {
    pub(super) channel: &'static str,
}

/// A label `table`: `schema.table`, `emit`, or `other`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Table {
    pub(super) table: String,
}

/// Labels `source`, a configured name or empty, and `outcome`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Delivery {
    pub(super) source: String,
    pub(super) outcome: &'static str,
}

/// A label `consumer`: names from the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Consumer {
    pub(super) consumer: String,
}

/// Labels `consumer` and `outcome`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Attempted {
    pub(super) consumer: String,
    pub(super) outcome: &'static str,
}

/// A label `outcome`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) outcome: &'static str,
}

/// Labels `route`, as in the list of routes, `method` and `status`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Answered {
    pub(super) route: &'static str,
    pub(super) method: String,
    pub(super) status: u16,
}
