//! The exporter: OTLP over HTTP, in batches, by a thread of the library.
//!
//! Its own spans, not those of `tracing`: a layer over that would make one for whatever a library wraps into a span, and the way of an
//! event begins before this process hears of it.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

use super::{Answered, TelemetryError};
use crate::config;
use crate::event::Event;

/// A collector has this long to take a batch; what comes meanwhile waits in the library's queue of 2,048 spans.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// At the end of the process: it has been waited for long enough by then.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The library's parts.
#[derive(Clone, Debug)]
pub(super) struct Exporter {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Exporter {
    pub(super) fn start(settings: &config::Tracing) -> Result<Self, TelemetryError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", settings.otlp.trim_end_matches('/')))
            .with_timeout(SEND_TIMEOUT)
            .build()
            .map_err(|error| TelemetryError(error.to_string()))?;
        let resource = Resource::builder()
            .with_service_name(settings.otlp_service.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        // What belongs to a trace goes by what was decided at its beginning.
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(1.0 / settings.otlp_one_in as f64)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("tidings");
        Ok(Self { provider, tracer })
    }

    pub(super) fn dispatched(&self, event: &Event, trace: &str, took: Duration) {
        let Some(parent) = parent(trace) else { return };
        let now = SystemTime::now();
        let mut span = self.span("tidings dispatch", SpanKind::Consumer, now - took, &parent);
        if let Some(key) = event.key() {
            span.set_attribute(KeyValue::new("cloudevents.event_id", key.to_string()));
        }
        span.set_attribute(KeyValue::new("cloudevents.event_type", event.kind.to_string()));
        span.set_attribute(KeyValue::new("cloudevents.event_source", event.source().to_owned()));
        span.end_with_timestamp(now);
    }

    pub(super) fn answered(&self, request: &Answered<'_>) {
        let parent = request.trace.and_then(parent).unwrap_or_default();
        let name = format!("{} {}", request.method, request.route);
        let mut span = self.span(name, SpanKind::Server, request.began, &parent);
        span.set_attribute(KeyValue::new("http.request.method", request.method.to_owned()));
        span.set_attribute(KeyValue::new("http.route", request.route));
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(request.status)));
        if request.status >= 500 {
            span.set_status(Status::error(""));
        }
        span.end();
    }

    fn span(
        &self,
        name: impl Into<std::borrow::Cow<'static, str>>,
        kind: SpanKind,
        began: SystemTime,
        parent: &Context,
    ) -> impl Span {
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_start_time(began);
        self.tracer.build_with_context(builder, parent)
    }

    /// Waits on a thread of its own: the library blocks.
    pub(super) async fn end(self) {
        let ended = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(END_TIMEOUT)).await;
        if let Ok(Err(error)) = ended {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// A W3C traceparent as the context of what belongs to it; none where it is none.
fn parent(trace: &str) -> Option<Context> {
    let mut parts = trace.split('-');
    let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = (version.len(), trace_id.len(), span_id.len(), flags.len());
    if lengths != (2, 32, 16, 2) || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace_id).ok()?,
        SpanId::from_hex(span_id).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & 1),
        true,
        TraceState::NONE,
    );
    context.is_valid().then(|| Context::new().with_remote_span_context(context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = parent(good).unwrap();
        assert!(context.span().span_context().is_sampled() && context.span().span_context().is_remote());
        assert!(parent(&good.replacen("00", "01", 1)).is_some(), "of a later version");
        for bad in [
            "",
            "x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(parent(bad).is_none(), "{bad}");
        }
    }
}
