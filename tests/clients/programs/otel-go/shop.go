package main

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otellog "go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

var errRefused = errors.New("no payment of 3")

// shop makes the telemetry of one request.
func shop() (map[string]string, error) {
	ctx := context.Background()
	spans, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, err
	}
	logs, err := otlploghttp.New(ctx)
	if err != nil {
		return nil, err
	}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans))
	loggers := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(logs)))
	said := pay(ctx, tracers.Tracer("shop/pay"), loggers.Logger("shop/pay"))
	return said, errors.Join(tracers.Shutdown(ctx), loggers.Shutdown(ctx))
}

func pay(ctx context.Context, tracer trace.Tracer, logger otellog.Logger) map[string]string {
	_, earlier := tracer.Start(ctx, "earlier")
	earlier.End()
	ctx, root := tracer.Start(ctx, "POST /pay", trace.WithSpanKind(trace.SpanKindServer),
		trace.WithLinks(trace.Link{SpanContext: earlier.SpanContext()}),
		trace.WithAttributes(
			attribute.String("http.request.method", "POST"),
			attribute.String("http.route", "/pay"),
			attribute.Int("http.response.status_code", 502),
			attribute.Float64("ratio", 0.25),
			attribute.Bool("cached", false),
			attribute.StringSlice("tags", []string{"a", "b"}),
		))
	_, query := tracer.Start(ctx, "SELECT cart", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("db.system.name", "postgresql")))
	query.RecordError(errRefused, trace.WithStackTrace(true))
	query.SetStatus(codes.Error, "refused")
	query.End()
	warn(ctx, logger)
	root.End()
	return map[string]string{
		"trace_id": root.SpanContext().TraceID().String(),
		"root":     root.SpanContext().SpanID().String(),
		"query":    query.SpanContext().SpanID().String(),
		"earlier":  earlier.SpanContext().TraceID().String(),
	}
}

// warn logs within the request's span; the record names an event and carries a map.
func warn(ctx context.Context, logger otellog.Logger) {
	var record otellog.Record
	record.SetTimestamp(time.Now())
	record.SetSeverity(otellog.SeverityWarn)
	record.SetSeverityText("WARN")
	record.SetEventName("stock.low")
	record.SetBody(attribute.StringValue("stock is low: 2"))
	record.AddAttributes(attribute.String("sku", "A-1"), attribute.Int("left", 2), attribute.Float64("price", 2.5),
		attribute.Map("cart", attribute.Int("items", 3)))
	logger.Emit(ctx, record)
}
