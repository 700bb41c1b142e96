// Connects over HTTP, which the embedded engine cannot serve to this client, and prints what the user reads.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func main() {
	said := map[string]string{}
	for name, method := range map[string]clickhouse.CompressionMethod{"plain": clickhouse.CompressionNone, "lz4": clickhouse.CompressionLZ4} {
		connection := clickhouse.OpenDB(&clickhouse.Options{
			Protocol:    clickhouse.HTTP,
			Addr:        []string{os.Args[1]},
			Auth:        clickhouse.Auth{Database: "axonpush", Username: os.Args[2], Password: os.Args[3]},
			Compression: &clickhouse.Compression{Method: method},
		})
		said[name] = fmt.Sprint(connection.PingContext(context.Background()))
		connection.Close()
	}
	text, err := json.Marshal(said)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}
