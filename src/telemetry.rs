//! Spans for OpenTelemetry: the way of an event that belongs to a trace, and requests. Nowhere without `tracing.otlp`, and only in a
//! binary that was built with the feature `otel` (`docs/decisions.md` says why it is one).
//!
//! Place: beside the road, at its end. A span is handed over when it is over; it is sent by a thread of the exporter, which drops what
//! it cannot send, so nothing here waits for a collector (`a_collector_that_is_away_costs_spans_and_nothing_else`).
//!
//! No span holds a tenant, a user, a query string or row data: of a request its route, of an event its id, type and source.

#[cfg(feature = "otel")]
mod otlp;

use std::time::{Duration, SystemTime};

use crate::config;
use crate::event::Event;

/// The exporter cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("tracing.otlp cannot be used: {0}")]
pub struct TelemetryError(String);

/// Where spans go. Without the feature there is nothing in it, and it costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    #[cfg(feature = "otel")]
    exporter: Option<otlp::Exporter>,
}

/// A request that was answered.
#[derive(Debug)]
pub struct Answered<'a> {
    /// The address as the list of routes has it.
    pub route: &'static str,
    /// Its method.
    pub method: &'a str,
    /// What came of it.
    pub status: u16,
    /// When it came.
    pub began: SystemTime,
    /// The caller's trace, from the header `traceparent`.
    pub trace: Option<&'a str>,
}

impl Telemetry {
    /// Whether this binary can send spans at all.
    pub const BUILT_IN: bool = cfg!(feature = "otel");

    /// Begins. Nothing is sent yet, so a collector that is away is no error.
    ///
    /// # Errors
    /// When the exporter does not take its settings.
    #[cfg_attr(not(feature = "otel"), expect(unused_variables))]
    pub fn start(settings: &config::Tracing) -> Result<Self, TelemetryError> {
        #[cfg(feature = "otel")]
        if !settings.otlp.is_empty() {
            return Ok(Self { exporter: Some(otlp::Exporter::start(settings)?) });
        }
        Ok(Self::default())
    }

    /// An event is in its ring, so long after its change was captured. Of those without a trace nothing is told.
    #[cfg_attr(not(feature = "otel"), expect(unused_variables))]
    pub fn dispatched(&self, event: &Event, took: impl FnOnce() -> Option<Duration>) {
        #[cfg(feature = "otel")]
        if let (Some(exporter), Some(trace)) = (&self.exporter, &event.trace) {
            exporter.dispatched(event, trace, took().unwrap_or_default());
        }
    }

    /// A request was answered.
    #[cfg_attr(not(feature = "otel"), expect(unused_variables))]
    pub fn answered(&self, request: &Answered<'_>) {
        #[cfg(feature = "otel")]
        if let Some(exporter) = &self.exporter {
            exporter.answered(request);
        }
    }

    /// Sends what waits, for a moment at most, and ends.
    pub async fn end(&self) {
        #[cfg(feature = "otel")]
        if let Some(exporter) = self.exporter.clone() {
            exporter.end().await;
        }
    }
}
