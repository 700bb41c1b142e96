// One program of a user: what the Sentry SDK for Go sends. Arguments: DSN, release.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/getsentry/sentry-go"
	"github.com/getsentry/sentry-go/attribute"
)

func pay(amount int) error {
	return fmt.Errorf("no payment of %d: %w", amount, errors.New("card expired"))
}

func captureError(ctx context.Context) *sentry.EventID {
	hub := sentry.GetHubFromContext(ctx)
	scope := hub.Scope()
	scope.SetTag("till", "seven")
	scope.SetContext("cart", sentry.Context{"items": 3})
	scope.AddAttachment(&sentry.Attachment{Filename: "cart.txt", ContentType: "text/plain", Payload: []byte("3 apples")})
	defer scope.ClearAttachments()
	hub.AddBreadcrumb(&sentry.Breadcrumb{Category: "cart", Message: "added 3 apples"}, nil)
	return hub.CaptureException(pay(3))
}

func checkIn() {
	config := &sentry.MonitorConfig{
		Schedule:      sentry.CrontabSchedule("5 * * * *"),
		CheckInMargin: 10,
		MaxRuntime:    20,
		Timezone:      "Europe/Rome",
	}
	if err := sentry.WithMonitor("nightly-stock", config, func() error { return nil }); err != nil {
		log.Fatal(err)
	}
}

func main() {
	err := sentry.Init(sentry.ClientOptions{
		Dsn:              os.Args[1],
		Release:          os.Args[2],
		Environment:      "staging",
		ServerName:       "till-7",
		EnableTracing:    true,
		TracesSampleRate: 1,
		SendDefaultPII:   true,
	})
	if err != nil {
		log.Fatal(err)
	}
	hub := sentry.CurrentHub()
	hub.Scope().SetUser(sentry.User{ID: "u-42", Email: "ada@example.com", Username: "ada"})
	ctx := sentry.SetHubOnContext(context.Background(), hub)
	root := sentry.StartTransaction(ctx, "close till", sentry.WithOpName("task"))
	child := sentry.StartSpan(root.Context(), "db.query", sentry.WithDescription("SELECT cart"))
	sentry.NewLogger(child.Context()).Warn().String("sku", "A-1").Emitf("stock is low: %d", 2)
	child.Finish()
	meter := sentry.NewMeter(root.Context())
	meter.Count("cart.added", 3, sentry.WithAttributes(attribute.String("shop", "A")))
	meter.Gauge("queue.length", 7)
	meter.Distribution("page.load", 12.5, sentry.WithUnit("millisecond"))
	errorID := captureError(root.Context())
	checkIn()
	root.Status = sentry.SpanStatusOK
	root.Finish()
	if !sentry.Flush(20 * time.Second) {
		log.Fatal("not everything was sent within 20 s")
	}
	facts := map[string]string{
		"version":  sentry.SDKVersion,
		"error_id": string(*errorID),
		"trace_id": root.TraceID.String(),
		"root":     root.SpanID.String(),
		"child":    child.SpanID.String(),
	}
	if err := json.NewEncoder(os.Stdout).Encode(facts); err != nil {
		log.Fatal(err)
	}
}
