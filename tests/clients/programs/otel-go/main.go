// OpenTelemetry's Go SDK with its HTTP exporters, told where to send by OTEL_* variables.
//
//	otel-go shop: a request that fails, with a query, an exception, a link and two logs; prints the ids as JSON.
//	otel-go refused spans|logs TRIES BYTES [HEADER VALUE]…: exports one large body again and again, without the
//	SDK's retries; prints how often each error was heard, as JSON.
package main

import (
	"encoding/json"
	"log"
	"os"
)

func main() {
	var said any
	var err error
	switch os.Args[1] {
	case "shop":
		said, err = shop()
	case "refused":
		said, err = refused(os.Args[2:])
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(said)
	}
	if err != nil {
		log.Fatal(err)
	}
}
