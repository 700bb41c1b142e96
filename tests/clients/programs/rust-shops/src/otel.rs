//! OpenTelemetry's Rust SDK with opentelemetry-otlp over HTTP, told where to send by OTEL_* variables. Prints the ids.

use std::error::Error;
use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_otlp::{LogExporter, SpanExporter};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

fn query(tracer: &impl Tracer<Span = opentelemetry_sdk::trace::Span>, parent: &Context) -> String {
    let span = tracer
        .span_builder("SELECT cart")
        .with_kind(SpanKind::Client)
        .with_attributes([KeyValue::new("db.system.name", "postgresql")])
        .start_with_context(tracer, parent);
    let inside = parent.with_span(span);
    let span = inside.span();
    span.record_error(&std::io::Error::other("no payment of 3"));
    span.set_status(Status::error("refused"));
    span.end();
    span.span_context().span_id().to_string()
}

fn warn(logger: &impl Logger, inside: &Context) {
    let span = inside.span();
    let at = span.span_context();
    let mut record = logger.create_log_record();
    record.set_timestamp(SystemTime::now());
    record.set_severity_number(Severity::Warn);
    record.set_severity_text("WARN");
    record.set_event_name("stock.low");
    record.set_body(AnyValue::from("stock is low: 2"));
    record.add_attribute("sku", "A-1");
    record.add_attribute("left", 2);
    record.add_attribute("price", 2.5);
    record.set_trace_context(at.trace_id(), at.span_id(), Some(at.trace_flags()));
    logger.emit(record);
}

fn main() -> Result<(), Box<dyn Error>> {
    let spans = SdkTracerProvider::builder()
        .with_batch_exporter(SpanExporter::builder().with_http().build()?)
        .build();
    let logs = SdkLoggerProvider::builder()
        .with_batch_exporter(LogExporter::builder().with_http().build()?)
        .build();
    let tracer = spans.tracer("shop::pay");
    let tags = Value::Array(Array::String(vec![
        StringValue::from("a"),
        StringValue::from("b"),
    ]));
    let root = tracer
        .span_builder("POST /pay")
        .with_kind(SpanKind::Server)
        .with_attributes([
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", "/pay"),
            KeyValue::new("http.response.status_code", 502),
            KeyValue::new("ratio", 0.25),
            KeyValue::new("cached", false),
            KeyValue::new("tags", tags),
        ])
        .start(&tracer);
    let inside = Context::new().with_span(root);
    let query_id = query(&tracer, &inside);
    warn(&logs.logger("shop::pay"), &inside);
    inside.span().end();
    let at = inside.span().span_context().clone();
    spans.shutdown()?;
    logs.shutdown()?;
    let said = serde_json::json!({
        "trace_id": at.trace_id().to_string(), "root": at.span_id().to_string(), "query": query_id,
    });
    println!("{said}");
    Ok(())
}
