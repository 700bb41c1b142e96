package main

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

var status = regexp.MustCompile(`\b[45]\d\d\b`)

// refused exports the same large body in every try.
func refused(arguments []string) (map[string]int, error) {
	tries, _ := strconv.Atoi(arguments[1])
	size, _ := strconv.Atoi(arguments[2])
	headers := map[string]string{}
	for at := 3; at+1 < len(arguments); at += 2 {
		headers[arguments[at]] = arguments[at+1]
	}
	export, err := exporter(arguments[0], strings.Repeat("x", size), headers)
	if err != nil {
		return nil, err
	}
	heard := map[string]int{}
	for try := 0; try < tries; try++ {
		heard[word(export())]++
	}
	return heard, nil
}

func exporter(kind, text string, headers map[string]string) (func() error, error) {
	ctx := context.Background()
	if kind == "spans" {
		spans := tracetest.SpanStubs{{Name: "large", StartTime: time.Now(), EndTime: time.Now(),
			Attributes: []attribute.KeyValue{attribute.String("text", text)}}}.Snapshots()
		made, err := otlptracehttp.New(ctx, otlptracehttp.WithHeaders(headers),
			otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: false}))
		return func() error { return made.ExportSpans(ctx, spans) }, err
	}
	record := sdklog.Record{}
	record.SetBody(attribute.StringValue(text))
	made, err := otlploghttp.New(ctx, otlploghttp.WithHeaders(headers),
		otlploghttp.WithRetry(otlploghttp.RetryConfig{Enabled: false}))
	return func() error { return made.Export(ctx, []sdklog.Record{record}) }, err
}

// word is the status that an error names, or all of the error. Of a retryable one the SDK names the body only.
func word(err error) string {
	if err == nil {
		return "200"
	}
	if found := status.FindString(err.Error()); found != "" {
		return found
	}
	if strings.Contains(err.Error(), "quota: the key may send") {
		return "429"
	}
	return err.Error()
}
